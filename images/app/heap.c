// SPDX-License-Identifier: MIT
/*
 * Memory of a dma-buf heap (/dev/dma_heap/AREA), in place of a driver's.
 *
 * The kernel tells nobody where such memory is. So a new buffer has a token for
 * an address until the host has found it: "tag" writes words into its pages that
 * nothing else in RAM has, the host looks for them in the guest's RAM, and
 * "place" tells the address and puts back what was in the pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app.h"

#define PAGE 4096UL
#define TOKENS 0x1000UL /* below any RAM, a page apart */
#define TAG_WORDS 2
#define MOST_FILES 65536

/* linux/dma-heap.h, which the C library of the toolchain need not have. */
struct heap_allocation {
	uint64_t len;
	uint32_t fd;
	uint32_t fd_flags;
	uint64_t heap_flags;
};
#define HEAP_ALLOCATE _IOWR('H', 0, struct heap_allocation)

struct buffer {
	struct buffer *next;
	unsigned long phys; /* a token until it is placed */
	unsigned long length;
	uint64_t *map;
	uint64_t *saved; /* what the tagged words were */
	bool placed;
	int fd;
};

static struct buffer *buffers;
static unsigned long next_token = TOKENS;

bool is_heap(const char *device)
{
	return strncmp(device, "/dev/dma_heap/", 14) == 0;
}

/* Each buffer is an open file, and one page is a buffer. */
void heap_open(void)
{
	struct rlimit limit = { .rlim_cur = MOST_FILES, .rlim_max = MOST_FILES };

	/* Where it is refused there are fewer buffers. */
	setrlimit(RLIMIT_NOFILE, &limit);
}

static struct buffer *find_buffer(unsigned long phys, unsigned long length)
{
	for (struct buffer *b = buffers; b; b = b->next) {
		if (phys >= b->phys && length <= b->length && phys - b->phys <= b->length - length)
			return b;
	}

	return NULL;
}

int heap_allocate(int heap, struct cma_info *info)
{
	struct heap_allocation request = { .len = info->length, .fd_flags = O_RDWR | O_CLOEXEC };
	struct buffer *buffer;

	if (info->length == 0 || info->length % PAGE) {
		errno = EINVAL;
		return -1;
	}
	if (ioctl(heap, HEAP_ALLOCATE, &request) < 0)
		return -1;
	buffer = calloc(1, sizeof(*buffer));
	if (!buffer)
		return -1;
	buffer->fd = (int)request.fd;
	buffer->length = info->length;
	buffer->phys = next_token;
	buffer->map = mmap(NULL, info->length, PROT_READ | PROT_WRITE, MAP_SHARED, buffer->fd, 0);
	if (buffer->map == MAP_FAILED) {
		close(buffer->fd);
		free(buffer);
		return -1;
	}
	next_token += PAGE;
	buffer->next = buffers;
	buffers = buffer;
	info->phys = buffer->phys;

	return 0;
}

int heap_release(const struct cma_info *info)
{
	for (struct buffer **link = &buffers; *link; link = &(*link)->next) {
		struct buffer *buffer = *link;

		if (buffer->phys != info->phys || buffer->length != info->length)
			continue;
		*link = buffer->next;
		munmap(buffer->map, buffer->length);
		close(buffer->fd);
		free(buffer->saved);
		free(buffer);
		return 0;
	}
	errno = EINVAL;

	return -1;
}

void heap_close(void)
{
	while (buffers) {
		struct cma_info info = { .phys = buffers->phys, .length = buffers->length };

		heap_release(&info);
	}
}

/* As map_region() does for a driver, with the offset within the buffer. */
void *heap_map(unsigned long phys, unsigned long length, int flags)
{
	struct buffer *buffer = find_buffer(phys, length);

	if (!buffer || !buffer->placed) {
		errno = EINVAL;
		return MAP_FAILED;
	}

	return mmap64(NULL, length, PROT_READ | PROT_WRITE, flags, buffer->fd,
		      (off64_t)(phys - buffer->phys));
}

/* Page @page of the buffer with @token; the host computes the same. */
static uint64_t tag_word(uint64_t nonce, unsigned long token, unsigned long page, int word)
{
	return nonce + ((uint64_t)(token / PAGE) << 32 | page << 1 | word) *
		UINT64_C(0x9e3779b97f4a7c15);
}

static bool tag(struct buffer *buffer, uint64_t nonce)
{
	unsigned long pages = buffer->length / PAGE;
	bool again = buffer->saved != NULL;

	if (!again)
		buffer->saved = calloc(pages * TAG_WORDS, sizeof(*buffer->saved));
	if (!buffer->saved)
		return false;
	for (unsigned long page = 0; page < pages; page++) {
		volatile uint64_t *words = buffer->map + page * PAGE / sizeof(uint64_t);

		for (int word = 0; word < TAG_WORDS; word++) {
			if (!again)
				buffer->saved[page * TAG_WORDS + word] = words[word];
			words[word] = tag_word(nonce, buffer->phys, page, word);
		}
	}

	return true;
}

void do_tag(struct script *script, char **words)
{
	unsigned long count = 0;
	uint64_t nonce;

	(void)script;
	if (!parse_u64(words[0], 16, &nonce))
		return answer_usage("tag HEX");
	for (struct buffer *b = buffers; b; b = b->next) {
		if (b->placed)
			continue;
		if (!tag(b, nonce))
			return answer_errno();
		count++;
	}
	answer("ok %lu", count);
}

/* Buffers that have no place, newest first: TOKEN:COUNT:LEN for COUNT tokens from TOKEN on. */
void do_unplaced(struct script *script, char **words)
{
	struct buffer *buffer = buffers;
	char text[224] = "";
	size_t used = 0;

	(void)script;
	(void)words;
	while (buffer && used + 40 < sizeof(text)) {
		unsigned long first = buffer->phys, length = buffer->length, count = 1;

		if (buffer->placed) {
			buffer = buffer->next;
			continue;
		}
		for (buffer = buffer->next; buffer && !buffer->placed &&
		     buffer->length == length && buffer->phys + PAGE == first;
		     buffer = buffer->next) {
			first = buffer->phys;
			count++;
		}
		used += snprintf(text + used, sizeof(text) - used, " 0x%lx:%lu:0x%lx", first, count,
				 length);
	}
	answer("ok%s", text);
}

void do_place(struct script *script, char **words)
{
	unsigned long token, phys;
	struct buffer *buffer;

	(void)script;
	if (!parse_ulong(words[0], &token) || !parse_ulong(words[1], &phys))
		return answer_usage("place TOKEN PHYS");
	buffer = find_buffer(token, 1);
	if (!buffer || buffer->placed || buffer->phys != token || !buffer->saved) {
		errno = ENOENT;
		return answer_errno();
	}
	for (unsigned long page = 0; page < buffer->length / PAGE; page++)
		memcpy(buffer->map + page * PAGE / sizeof(uint64_t),
		       buffer->saved + page * TAG_WORDS, TAG_WORDS * sizeof(uint64_t));
	free(buffer->saved);
	buffer->saved = NULL;
	buffer->phys = phys;
	buffer->placed = true;
	answer("ok");
}

// SPDX-License-Identifier: MIT
/* Commands of the script that load the allocator: many users, used memory, pinned memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app.h"

#define SLOTS 8
#define PIPE_BYTES (1 << 20)
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_PFN ((UINT64_C(1) << 55) - 1)

static unsigned long page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static int allocate(int fd, struct cma_info *info, unsigned long length)
{
	memset(info, 0, sizeof(*info));
	info->length = length;

	return ioctl(fd, CMA_MEM_ALLOCATE, info);
}

void do_cycle(struct script *script, char **words)
{
	struct cma_info info = { 0 };

	if (!parse_size(words[0], &info.length))
		return answer_usage("cycle LEN");
	if (take_memory(script, &info) < 0 || drop_memory(script, &info) < 0)
		return answer_errno();
	answer("ok 0x%lx", info.phys);
}

/* --- many at once ------------------------------------------------------ */

struct slot {
	struct cma_info info;
	void *map;
	uint64_t nonce;
};

/* xorshift: the same seed, the same steps. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;

	return *state;
}

/* 0 for a region that was taken, 1 where there is none to be had, -1 on an error. */
static int take(int fd, struct slot *slot, unsigned long length, uint64_t nonce)
{
	if (allocate(fd, &slot->info, length) < 0)
		return errno == ENOMEM ? 1 : -1;
	slot->map = map_region(fd, slot->info.phys, length);
	if (slot->map == MAP_FAILED) {
		slot->map = NULL;
		return -1;
	}
	slot->nonce = nonce;
	pattern_fill(slot->map, length, nonce, 0);

	return 0;
}

/* Gives a region back. *damage: where its content is not what was written, or 0. */
static int give_back(int fd, struct slot *slot, unsigned long *damage)
{
	unsigned long length = slot->info.length;
	unsigned long at = pattern_check(slot->map, length, slot->nonce, 0);
	void *map = slot->map;

	*damage = at < length ? slot->info.phys + at : 0;
	slot->map = NULL;
	if (munmap(map, length) < 0)
		return -1;

	return ioctl(fd, CMA_MEM_RELEASE, &slot->info);
}

/* Takes and gives back at random, each region full of a pattern of its own. */
void do_churn(struct script *script, char **words)
{
	unsigned long count, pages, damage = 0, taken = 0, refused = 0;
	struct slot slots[SLOTS] = { 0 };
	int fd = script_fd(script);
	uint64_t seed;

	if (!parse_u64(words[0], 16, &seed) || seed == 0 || !parse_ulong(words[1], &count) ||
	    !parse_ulong(words[2], &pages) || pages == 0)
		return answer_usage("churn SEED COUNT PAGES, SEED in hexadecimal and not 0");
	for (unsigned long i = 0; i < count + SLOTS; i++) {
		struct slot *slot = &slots[(i < count ? next_random(&seed) : i - count) % SLOTS];

		if (slot->map) {
			if (give_back(fd, slot, &damage) < 0)
				return answer_errno();
			if (damage)
				return answer("error DAMAGED (0) at 0x%lx", damage);
		} else if (i < count) {
			unsigned long length = (1 + next_random(&seed) % pages) * page_size();
			int result = take(fd, slot, length, next_random(&seed));

			if (result < 0)
				return answer_errno();
			taken += result == 0;
			refused += result == 1;
		}
	}
	answer("ok %lu %lu", taken, refused);
}

/* In a child: what went wrong, as an exit status; 0 for nothing. */
static int race_child(int fd, unsigned long count, unsigned long length)
{
	unsigned long damage;

	for (unsigned long i = 0; i < count; i++) {
		struct slot slot = { 0 };

		if (take(fd, &slot, length, (uint64_t)getpid() << 32 | i))
			return 1;
		if (give_back(fd, &slot, &damage) < 0)
			return 2;
		if (damage)
			return 3;
	}

	return 0;
}

/* Children on one and the same open file: what the driver's own lock is for. */
void do_race(struct script *script, char **words)
{
	static const char *const faults[] = { "", "cannot take", "cannot give back", "damaged" };
	unsigned long children, count, length;
	int status, failed = 0;

	if (!parse_ulong(words[0], &children) || !parse_ulong(words[1], &count) ||
	    !parse_size(words[2], &length))
		return answer_usage("race CHILDREN COUNT LEN");
	for (unsigned long i = 0; i < children; i++) {
		pid_t child = fork();

		if (child < 0)
			return answer_errno();
		if (child == 0)
			_exit(race_child(script_fd(script), count, length));
	}
	while (wait(&status) > 0) {
		if (WIFSIGNALED(status))
			failed = -WTERMSIG(status);
		else if (WEXITSTATUS(status))
			failed = WEXITSTATUS(status);
	}
	if (failed < 0)
		return answer("error LOST (0) a child was killed by signal %d", -failed);
	if (failed)
		return answer("error LOST (0) a child: %s", faults[failed & 3]);
	answer("ok");
}

/* --- memory in use by something else ----------------------------------- */

static struct {
	uint8_t *map;
	unsigned long length;
	uint64_t nonce;
	int pipe[2];
} anon = { .pipe = { -1, -1 } };

/* Fills new memory: the process's own, or that of a file in tmpfs. */
static void use_memory(char **words, bool file)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;

	if (anon.map)
		return answer_usage("there is one already: anon-free first");
	if (!parse_u64(words[0], 16, &anon.nonce) || !parse_size(words[1], &anon.length) ||
	    anon.length == 0 || anon.length % page_size())
		return answer_usage("anon or tmpfs HEX LEN, whole pages");
	if (file) {
		flags = MAP_SHARED;
		fd = memfd_create("tmpfs", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, anon.length) < 0)
			return answer_errno();
	}
	anon.map = mmap(NULL, anon.length, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (file)
		close(fd); /* the mapping keeps the file */
	if (anon.map == MAP_FAILED) {
		anon.map = NULL;
		return answer_errno();
	}
	pattern_fill(anon.map, anon.length, anon.nonce, 0);
	answer("ok");
}

void do_anon(struct script *script, char **words)
{
	(void)script;
	use_memory(words, false);
}

void do_tmpfs(struct script *script, char **words)
{
	(void)script;
	use_memory(words, true);
}

void do_anon_check(struct script *script, char **words)
{
	unsigned long at;

	(void)script;
	(void)words;
	if (!anon.map)
		return answer_usage("anon comes first");
	at = pattern_check(anon.map, anon.length, anon.nonce, 0);
	if (at < anon.length)
		return answer("error DAMAGED (0) at offset 0x%lx", at);
	answer("ok");
}

void do_anon_free(struct script *script, char **words)
{
	(void)script;
	(void)words;
	if (!anon.map || munmap(anon.map, anon.length) < 0)
		return answer_usage("anon comes first");
	anon.map = NULL;
	answer("ok");
}

static int open_pipe(void)
{
	return pipe(anon.pipe) < 0 || fcntl(anon.pipe[1], F_SETPIPE_SZ, PIPE_BYTES) < 0 ? -1 : 0;
}

/* A reference to the page at @at of "anon", as I/O in flight has it. */
static bool pin_page(unsigned long at)
{
	struct iovec piece = { .iov_base = anon.map + at, .iov_len = page_size() };

	return vmsplice(anon.pipe[1], &piece, 1, SPLICE_F_NONBLOCK) == (ssize_t)piece.iov_len;
}

/* The physical addresses of the pages of "anon", 0 for one that is not there; NULL on an error. */
static uint64_t *find_pages(void)
{
	unsigned long count = anon.length / page_size();
	off_t place = (off_t)((uintptr_t)anon.map / page_size() * sizeof(uint64_t));
	ssize_t size = count * sizeof(uint64_t);
	uint64_t *pages = malloc(size);
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (map < 0 || !pages || pread(map, pages, size, place) != size) {
		free(pages);
		pages = NULL;
	}
	for (unsigned long i = 0; pages && i < count; i++)
		pages[i] = pages[i] & PAGEMAP_PRESENT ? (pages[i] & PAGEMAP_PFN) * page_size() : 0;
	if (map >= 0)
		close(map);

	return pages;
}

/*
 * Holds references to those pages of "anon" that are in [PHYS, PHYS + LEN): they
 * sit in a pipe, where nobody can migrate them.
 */
void do_pin(struct script *script, char **words)
{
	unsigned long phys, length, pinned = 0, page = page_size();
	uint64_t *pages;

	(void)script;
	if (!parse_ulong(words[0], &phys) || !parse_size(words[1], &length) || !anon.map)
		return answer_usage("pin PHYS LEN, after anon");
	if (anon.pipe[0] >= 0)
		return answer_usage("there are pages pinned already: unpin first");
	pages = find_pages();
	if (!pages || open_pipe() < 0)
		return answer_errno();
	for (unsigned long i = 0; i < anon.length / page && pinned < PIPE_BYTES / page; i++) {
		if (!pages[i] || pages[i] < phys || pages[i] - phys >= length)
			continue;
		if (!pin_page(i * page))
			return answer_errno();
		pinned++;
	}
	free(pages);
	answer("ok %lu", pinned);
}

/*
 * Pins one page more: that page of "anon" with the lowest address in
 * [PHYS, PHYS + LEN). The answer is its address, or "none".
 */
void do_hold(struct script *script, char **words)
{
	unsigned long phys, length, at = 0;
	uint64_t *pages, lowest = 0;

	(void)script;
	if (!parse_ulong(words[0], &phys) || !parse_size(words[1], &length) || !anon.map)
		return answer_usage("hold PHYS LEN, one page after anon");
	pages = find_pages();
	if (!pages || (anon.pipe[0] < 0 && open_pipe() < 0))
		return answer_errno();
	for (unsigned long i = 0; i < anon.length / page_size(); i++) {
		if (!pages[i] || pages[i] < phys || pages[i] - phys >= length ||
		    (lowest && pages[i] >= lowest))
			continue;
		lowest = pages[i];
		at = i * page_size();
	}
	free(pages);
	if (!lowest)
		return answer("ok none");
	if (!pin_page(at))
		return answer_errno();
	answer("ok 0x%lx", (unsigned long)lowest);
}

void do_unpin(struct script *script, char **words)
{
	(void)script;
	(void)words;
	close(anon.pipe[0]);
	close(anon.pipe[1]);
	anon.pipe[0] = anon.pipe[1] = -1;
	answer("ok");
}

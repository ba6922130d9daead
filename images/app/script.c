// SPDX-License-Identifier: MIT
/*
 * A server for tests: one command per line on standard input, exactly one line
 * of answer each: "ok ...", or "error NAME (number) text" with the name of the
 * errno, or with USAGE, DIRTY, DAMAGED or LOST and 0. See script_commands.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app.h"

/* A mapping the script made, found again by its physical address. */
struct mapping {
	struct mapping *next;
	unsigned long phys;
	unsigned long length;
	void *map;
};

struct script {
	int fd;
	const char *device;
	struct mapping *mappings;
	bool heap;
};

static char last_answer[256];
static bool muted; /* "repeat" gives one answer for many */

void answer(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(last_answer, sizeof(last_answer), format, arguments);
	va_end(arguments);
	if (muted)
		return;
	puts(last_answer);
	fflush(stdout);
}

int script_fd(const struct script *script)
{
	return script->fd;
}

int take_memory(const struct script *script, struct cma_info *info)
{
	return script->heap ? heap_allocate(script->fd, info) :
			      ioctl(script->fd, CMA_MEM_ALLOCATE, info);
}

int drop_memory(const struct script *script, const struct cma_info *info)
{
	if (!script->heap)
		return ioctl(script->fd, CMA_MEM_RELEASE, info);
	/* As a driver does that frees nothing under a mapping. */
	for (struct mapping *m = script->mappings; m; m = m->next) {
		if (m->phys >= info->phys && m->phys - info->phys < info->length) {
			errno = EBUSY;
			return -1;
		}
	}

	return heap_release(info);
}

static void *map_memory(const struct script *script, unsigned long phys, unsigned long length,
			int flags)
{
	if (script->heap)
		return heap_map(phys, length, flags);

	return mmap64(NULL, length, PROT_READ | PROT_WRITE, flags, script->fd, (off64_t)phys);
}

void answer_errno(void)
{
	int error = errno;
	const char *name = strerrorname_np(error);

	answer("error %s (%d) %s", name ? name : "E?", error, strerror(error));
}

void answer_usage(const char *why)
{
	answer("error USAGE (0) %s", why);
}

/* The mapping that has all of [phys, phys + length), or NULL. */
static struct mapping *find_mapping(const struct script *script, unsigned long phys,
				    unsigned long length)
{
	for (struct mapping *m = script->mappings; m; m = m->next) {
		if (phys >= m->phys && length <= m->length && phys - m->phys <= m->length - length)
			return m;
	}

	return NULL;
}

/*
 * A window on [phys, phys + length): a mapping the script made, or else one
 * made for this command only, in *temporary.
 */
static uint8_t *open_window(const struct script *script, unsigned long phys,
			    unsigned long length, void **temporary)
{
	struct mapping *mapping = find_mapping(script, phys, length);

	*temporary = NULL;
	if (mapping)
		return (uint8_t *)mapping->map + (phys - mapping->phys);

	*temporary = map_memory(script, phys, length, MAP_SHARED);
	if (*temporary == MAP_FAILED) {
		*temporary = NULL;
		return NULL;
	}

	return *temporary;
}

static void close_window(void *temporary, unsigned long length)
{
	if (temporary)
		munmap(temporary, length);
}

static void do_alloc(struct script *script, char **words)
{
	struct cma_info info = { 0 };

	if (!parse_size(words[0], &info.length))
		return answer_usage("alloc LEN");
	if (take_memory(script, &info) < 0)
		return answer_errno();
	answer("ok 0x%lx 0x%lx 0x%lx", info.phys, info.length, info.virt);
}

static void do_release(struct script *script, char **words)
{
	struct cma_info info = { 0 };

	if (!parse_ulong(words[0], &info.phys) || !parse_size(words[1], &info.length))
		return answer_usage("release PHYS LEN");
	if (drop_memory(script, &info) < 0)
		return answer_errno();
	answer("ok");
}

static void map_with_flags(struct script *script, char **words, int flags)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));

	if (!mapping)
		return answer_errno();
	if (!parse_ulong(words[0], &mapping->phys) || !parse_size(words[1], &mapping->length)) {
		free(mapping);
		return answer_usage("mmap PHYS LEN");
	}
	mapping->map = map_memory(script, mapping->phys, mapping->length, flags);
	if (mapping->map == MAP_FAILED) {
		answer_errno();
		free(mapping);
		return;
	}
	mapping->next = script->mappings;
	script->mappings = mapping;
	answer("ok 0x%lx", (unsigned long)mapping->map);
}

static void do_mmap(struct script *script, char **words)
{
	map_with_flags(script, words, MAP_SHARED);
}

static void do_mmap_private(struct script *script, char **words)
{
	map_with_flags(script, words, MAP_PRIVATE);
}

static void do_munmap(struct script *script, char **words)
{
	unsigned long phys;

	if (!parse_ulong(words[0], &phys))
		return answer_usage("munmap PHYS");
	for (struct mapping **link = &script->mappings; *link; link = &(*link)->next) {
		struct mapping *mapping = *link;

		if (mapping->phys != phys)
			continue;
		if (munmap(mapping->map, mapping->length) < 0)
			return answer_errno();
		*link = mapping->next;
		free(mapping);
		return answer("ok");
	}
	errno = ENOENT;
	answer_errno();
}

static void do_mremap(struct script *script, char **words)
{
	struct mapping *mapping;
	unsigned long phys, length;
	void *moved;

	if (!parse_ulong(words[0], &phys) || !parse_size(words[1], &length))
		return answer_usage("mremap PHYS NEW_LEN");
	mapping = find_mapping(script, phys, 1);
	if (!mapping || mapping->phys != phys) {
		errno = ENOENT;
		return answer_errno();
	}
	moved = mremap(mapping->map, mapping->length, length, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		return answer_errno();
	mapping->map = moved;
	mapping->length = length;
	answer("ok 0x%lx", (unsigned long)moved);
}

static void do_ioctl(struct script *script, char **words)
{
	struct cma_info info = { .length = 4096 };
	unsigned long number;

	if (!parse_ulong(words[0], &number))
		return answer_usage("ioctl NUM");
	if (ioctl(script->fd, number, &info) < 0)
		return answer_errno();
	answer("ok");
}

/* Both commands with an argument that points nowhere. */
static void do_badptr(struct script *script, char **words)
{
	unsigned long number = CMA_MEM_ALLOCATE;

	if (strcmp(words[0], "release") == 0)
		number = CMA_MEM_RELEASE;
	else if (strcmp(words[0], "alloc") != 0)
		return answer_usage("badptr alloc|release");
	if (ioctl(script->fd, number, (void *)16) < 0)
		return answer_errno();
	answer("ok");
}

/*
 * An argument that can be read and not written: the driver finds out when the
 * memory is allocated already, and must give it back.
 */
static void do_readonly(struct script *script, char **words)
{
	long page = sysconf(_SC_PAGESIZE);
	struct cma_info info = { 0 };
	void *map;

	if (!parse_size(words[0], &info.length))
		return answer_usage("readonly LEN");
	map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return answer_errno();
	memcpy(map, &info, sizeof(info));
	mprotect(map, page, PROT_READ);
	if (ioctl(script->fd, CMA_MEM_ALLOCATE, map) < 0)
		answer_errno();
	else
		answer("ok");
	munmap(map, page);
}

static void do_read(struct script *script, char **words)
{
	unsigned long phys, length, start, span;
	unsigned long page = sysconf(_SC_PAGESIZE);
	char hex[2 * 64 + 1];
	void *temporary;
	uint8_t *window;

	if (!parse_ulong(words[0], &phys) || !parse_size(words[1], &length) || length == 0 ||
	    length > 64 || phys > ULONG_MAX - length)
		return answer_usage("read PHYS LEN, at most 64 bytes");
	start = phys & ~(page - 1);
	span = ((phys + length + page - 1) & ~(page - 1)) - start;
	window = open_window(script, start, span, &temporary);
	if (!window)
		return answer_errno();
	for (unsigned long i = 0; i < length; i++)
		snprintf(hex + 2 * i, 3, "%02x", window[phys - start + i]);
	close_window(temporary, span);
	answer("ok %s", hex);
}

static void do_zero(struct script *script, char **words)
{
	unsigned long phys, length, at;
	void *temporary;
	uint8_t *window;

	if (!parse_ulong(words[0], &phys) || !parse_size(words[1], &length) || length == 0)
		return answer_usage("zero PHYS LEN");
	window = open_window(script, phys, length, &temporary);
	if (!window)
		return answer_errno();
	for (at = 0; at < length && window[at] == 0; at++)
		;
	close_window(temporary, length);
	if (at < length)
		return answer("error DIRTY (0) at 0x%lx", phys + at);
	answer("ok");
}

static void do_fill(struct script *script, char **words)
{
	unsigned long phys, length;
	void *temporary;
	uint64_t nonce;
	uint8_t *window;

	if (!parse_u64(words[0], 16, &nonce) || !parse_ulong(words[1], &phys) ||
	    !parse_size(words[2], &length) || length == 0 || (phys | length) % 8)
		return answer_usage("fill HEX PHYS LEN");
	window = open_window(script, phys, length, &temporary);
	if (!window)
		return answer_errno();
	pattern_fill(window, length, nonce, 0);
	close_window(temporary, length);
	answer("ok");
}

static void do_check(struct script *script, char **words)
{
	unsigned long phys, length, at;
	void *temporary;
	uint64_t nonce;
	uint8_t *window;

	if (!parse_u64(words[0], 16, &nonce) || !parse_ulong(words[1], &phys) ||
	    !parse_size(words[2], &length) || length == 0 || (phys | length) % 8)
		return answer_usage("check HEX PHYS LEN");
	window = open_window(script, phys, length, &temporary);
	if (!window)
		return answer_errno();
	at = pattern_check(window, length, nonce, 0);
	close_window(temporary, length);
	if (at < length)
		return answer("error DAMAGED (0) at 0x%lx", phys + at);
	answer("ok");
}

static void open_device(struct script *script, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return answer_errno();
	close(script->fd);
	heap_close();
	script->fd = fd;
	script->heap = is_heap(path);
	answer("ok");
}

static void do_reopen(struct script *script, char **words)
{
	(void)words;
	open_device(script, script->device);
}

static void do_device(struct script *script, char **words)
{
	open_device(script, words[0]);
}

/*
 * A child that has the mappings and the open file until a command stops it:
 * what fork must keep alive. Its process id is the answer.
 */
static void do_fork(struct script *script, char **words)
{
	pid_t child;

	(void)script;
	(void)words;
	child = fork();
	if (child < 0)
		return answer_errno();
	if (child == 0) {
		for (;;)
			pause();
	}
	answer("ok %d", (int)child);
}

static void do_reap(struct script *script, char **words)
{
	unsigned long child;

	(void)script;
	if (!parse_ulong(words[0], &child) || child == 0 || child > INT_MAX)
		return answer_usage("reap PID");
	if (kill((pid_t)child, SIGKILL) < 0 || waitpid((pid_t)child, NULL, 0) < 0)
		return answer_errno();
	answer("ok");
}

static void do_pid(struct script *script, char **words)
{
	(void)script;
	(void)words;
	answer("ok %d", (int)getpid());
}

static const struct {
	const char *name;
	int arguments;
	void (*run)(struct script *script, char **words);
} script_commands[] = {
	{ "alloc", 1, do_alloc },		/* LEN          -> ok PHYS LEN VIRT */
	{ "release", 2, do_release },		/* PHYS LEN */
	{ "mmap", 2, do_mmap },			/* PHYS LEN     -> ok ADDRESS */
	{ "mmap-private", 2, do_mmap_private },	/* PHYS LEN     -> ok ADDRESS */
	{ "munmap", 1, do_munmap },		/* PHYS */
	{ "mremap", 2, do_mremap },		/* PHYS NEW_LEN -> ok ADDRESS */
	{ "ioctl", 1, do_ioctl },		/* NUM */
	{ "badptr", 1, do_badptr },		/* alloc|release */
	{ "readonly", 1, do_readonly },		/* LEN */
	{ "read", 2, do_read },			/* PHYS LEN     -> ok HEX */
	{ "zero", 2, do_zero },			/* PHYS LEN     is it all zero? */
	{ "fill", 3, do_fill },			/* HEX PHYS LEN */
	{ "check", 3, do_check },		/* HEX PHYS LEN */
	{ "reopen", 0, do_reopen },		/* close and open the device */
	{ "device", 1, do_device },		/* PATH         close it, and open another */
	{ "fork", 0, do_fork },			/*              -> ok PID */
	{ "reap", 1, do_reap },			/* PID          kill and wait */
	{ "pid", 0, do_pid },			/*              -> ok PID */
	{ "tag", 1, do_tag },			/* HEX          mark what has no place -> ok COUNT */
	{ "unplaced", 0, do_unplaced },		/*              -> ok TOKEN:COUNT:LEN ... */
	{ "place", 2, do_place },		/* TOKEN PHYS   as the host has found it */
	{ "cycle", 1, do_cycle },		/* LEN          alloc, release -> ok PHYS */
	{ "churn", 3, do_churn },		/* SEED COUNT PAGES -> ok ALLOCATED REFUSED */
	{ "race", 3, do_race },			/* CHILDREN COUNT LEN */
	{ "anon", 2, do_anon },			/* HEX LEN      fill ordinary memory */
	{ "tmpfs", 2, do_tmpfs },		/* HEX LEN      the same of a file in tmpfs */
	{ "anon-check", 0, do_anon_check },	/* is it as it was? */
	{ "anon-free", 0, do_anon_free },
	{ "pin", 2, do_pin },			/* PHYS LEN     -> ok PAGES of "anon" within */
	{ "hold", 2, do_hold },			/* PHYS LEN     pin the lowest -> ok ADDRESS or none */
	{ "unpin", 0, do_unpin },
};

static void run_words(struct script *script, char **words, int count)
{
	for (size_t i = 0; i < sizeof(script_commands) / sizeof(script_commands[0]); i++) {
		if (strcmp(words[0], script_commands[i].name) != 0)
			continue;
		if (count - 1 != script_commands[i].arguments)
			return answer_usage("wrong number of arguments");
		return script_commands[i].run(script, words + 1);
	}
	answer_usage("unknown command");
}

/* "repeat N COMMAND ...": N times, with the last one's answer. */
static void repeat(struct script *script, char **words, int count)
{
	char text[sizeof(last_answer)];
	unsigned long times;

	if (count < 2 || !parse_ulong(words[0], &times) || times == 0)
		return answer_usage("repeat N COMMAND ...");
	muted = true;
	while (times--)
		run_words(script, words + 1, count - 1);
	muted = false;
	strcpy(text, last_answer);
	answer("%s", text);
}

static void script_line(struct script *script, char *line)
{
	char *words[8] = { NULL };
	char *save = NULL;
	int count = 0;

	for (char *word = strtok_r(line, " \t\r\n", &save); word && count < 8;
	     word = strtok_r(NULL, " \t\r\n", &save))
		words[count++] = word;
	if (count == 0)
		return answer_usage("empty line");
	if (strcmp(words[0], "repeat") == 0)
		return repeat(script, words + 1, count - 1);
	run_words(script, words, count);
}

int run_script(int fd, const char *device)
{
	struct script script = { .fd = fd, .device = device, .heap = is_heap(device) };
	char line[256];

	if (script.heap)
		heap_open();
	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "quit", 4) == 0 && strspn(line + 4, " \t\r\n") == strlen(line + 4)) {
			answer("ok");
			break;
		}
		script_line(&script, line);
	}

	/* Not necessarily the file that main opened: see "reopen". */
	return close(script.fd) < 0 ? fail("cannot close", device) : EXIT_SUCCESS;
}
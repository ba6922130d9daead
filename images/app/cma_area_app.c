// SPDX-License-Identifier: MIT
/*
 * CMA_area_app: take memory from a CMA area through /dev/CMA_demo and use it.
 *
 * Without options it does what BiscuitOS's application does: allocate 1 MiB,
 * map it, write a greeting, read it back, release. The addresses it prints are
 * half-open: the end is the first byte after the region. "Virt" is where the
 * region is mapped in this process, as with BiscuitOS's.
 *
 * --script turns it into a server for tests: one command per line on standard
 * input, exactly one line of answer each (see script_commands below).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_DEVICE "/dev/CMA_demo"
#define DEFAULT_SIZE (1024UL * 1024UL)
#define MAX_COUNT 4096UL
#define GREETING "BiscuitOS CMA area"

#define CMA_MEM_ALLOCATE _IOW('m', 1, unsigned int)
#define CMA_MEM_RELEASE _IOW('m', 2, unsigned int)

enum { EXIT_USAGE = 2 };

/* The driver's view of a region. */
struct cma_info {
	unsigned long virt;
	unsigned long phys;
	unsigned long offset;
	unsigned long length;
};

struct region {
	struct cma_info info;
	void *map;
	uint64_t first; /* index of the first word of its pattern */
};

struct options {
	const char *device;
	unsigned long size;
	unsigned long count;
	uint64_t nonce;
	bool pattern;
	bool hold;
	bool release;
	bool script;
};

/* --- patterns ---------------------------------------------------------- */

/*
 * Word @index of the pattern: odd multiplier, so for one nonce no two indices
 * give the same word, and a page that was swapped or shifted is noticed. The
 * host computes the same: (nonce + index * 0x9e3779b97f4a7c15) mod 2^64,
 * little-endian, index counting 8-byte words from the start of the region. With
 * --count the index runs on into the next region, so overlap shows as damage.
 */
static uint64_t pattern_word(uint64_t nonce, uint64_t index)
{
	return nonce + index * UINT64_C(0x9e3779b97f4a7c15);
}

static void pattern_fill(void *map, unsigned long length, uint64_t nonce, uint64_t first)
{
	volatile uint64_t *words = map;

	for (unsigned long i = 0; i < length / sizeof(*words); i++)
		words[i] = pattern_word(nonce, first + i);
}

/* Offset in bytes of the first damaged word, or @length if all is intact. */
static unsigned long pattern_check(const void *map, unsigned long length, uint64_t nonce,
				   uint64_t first)
{
	const volatile uint64_t *words = map;

	for (unsigned long i = 0; i < length / sizeof(*words); i++) {
		if (words[i] != pattern_word(nonce, first + i))
			return i * sizeof(*words);
	}

	return length;
}

/* --- the device -------------------------------------------------------- */

static void *map_region(int fd, unsigned long phys, unsigned long length)
{
	/* mmap2 takes the offset in pages: no address of 32 bits is too large. */
	return mmap64(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off64_t)phys);
}

/* --- numbers ----------------------------------------------------------- */

static bool parse_u64(const char *text, int base, uint64_t *value)
{
	char *end;

	if (*text == '\0' || strchr("+- \t", *text))
		return false;
	errno = 0;
	*value = strtoull(text, &end, base);

	return errno == 0 && *end == '\0';
}

static bool parse_ulong(const char *text, unsigned long *value)
{
	uint64_t wide;

	if (!parse_u64(text, 0, &wide) || wide > ULONG_MAX)
		return false;
	*value = wide;

	return true;
}

/* A number with an optional K or M. */
static bool parse_size(const char *text, unsigned long *value)
{
	size_t length = strlen(text);
	unsigned long unit = 1;
	char digits[32];

	if (length == 0 || length >= sizeof(digits))
		return false;
	strcpy(digits, text);
	switch (digits[length - 1]) {
	case 'K': case 'k':
		unit = 1024;
		break;
	case 'M': case 'm':
		unit = 1024 * 1024;
		break;
	}
	if (unit > 1)
		digits[length - 1] = '\0';

	return parse_ulong(digits, value) && !__builtin_mul_overflow(*value, unit, value);
}

/* --- the run as BiscuitOS has it --------------------------------------- */

static int fail(const char *what, const char *subject)
{
	int error = errno;

	fflush(stdout);
	fprintf(stderr, "CMA_area_app: %s %s: %s\n", what, subject, strerror(error));

	return EXIT_FAILURE;
}

static int take_region(int fd, const struct options *options, struct region *region)
{
	struct cma_info *info = &region->info;
	char text[64];

	memset(info, 0, sizeof(*info));
	info->length = options->size;
	snprintf(text, sizeof(text), "%lu bytes from %s", options->size, options->device);
	if (ioctl(fd, CMA_MEM_ALLOCATE, info) < 0)
		return fail("cannot allocate", text);

	region->map = map_region(fd, info->phys, info->length);
	snprintf(text, sizeof(text), "0x%lx", info->phys);
	if (region->map == MAP_FAILED) {
		region->map = NULL;
		return fail("cannot map", text);
	}

	return EXIT_SUCCESS;
}

static int check_region(const struct region *region, const struct options *options)
{
	unsigned long length = region->info.length;
	unsigned long at = pattern_check(region->map, length, options->nonce, region->first);

	if (at == length) {
		printf("Pattern: intact\n");
		return EXIT_SUCCESS;
	}
	printf("Pattern: damaged at 0x%lx\n", region->info.phys + at);
	fflush(stdout);
	fprintf(stderr, "CMA_area_app: pattern damaged at 0x%lx\n", region->info.phys + at);

	return EXIT_FAILURE;
}

static int use_region(const struct region *region, const struct options *options)
{
	const struct cma_info *info = &region->info;
	unsigned long map = (unsigned long)region->map;
	int status = EXIT_SUCCESS;

	if (options->pattern) {
		pattern_fill(region->map, info->length, options->nonce, region->first);
	} else {
		strcpy(region->map, GREETING);
		printf("CMA region: %s\n", (const char *)region->map);
	}
	printf("Phys: 0x%lx - 0x%lx\n", info->phys, info->phys + info->length);
	printf("Virt: 0x%lx - 0x%lx\n", map, map + info->length);
	if (options->pattern)
		status = check_region(region, options);

	return status;
}

static void stop_waiting(int signal)
{
	(void)signal;
}

/* Until a line, the end of input, or a signal. */
static void hold(void)
{
	struct sigaction action = { .sa_handler = stop_waiting };
	char byte;

	/* No SA_RESTART: the signal has to end the read. */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGHUP, &action, NULL);

	while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n')
		;
}

static int drop_region(int fd, struct region *region)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%lx", region->info.phys);
	if (region->map && munmap(region->map, region->info.length) < 0)
		return fail("cannot unmap", text);
	if (ioctl(fd, CMA_MEM_RELEASE, &region->info) < 0)
		return fail("cannot release", text);

	return EXIT_SUCCESS;
}

static int run(int fd, const struct options *options)
{
	struct region *regions = calloc(options->count, sizeof(*regions));
	int status = EXIT_SUCCESS;
	unsigned long held;

	if (!regions)
		return fail("no memory for", "the list of regions");

	/* Regions of an unfinished run go back when the device is closed. */
	for (held = 0; held < options->count && status == EXIT_SUCCESS; held++) {
		regions[held].first = (uint64_t)held * (options->size / sizeof(uint64_t));
		status = take_region(fd, options, &regions[held]);
		if (status == EXIT_SUCCESS)
			status = use_region(&regions[held], options);
	}
	fflush(stdout);

	if (status == EXIT_SUCCESS && options->hold) {
		hold();
		for (unsigned long i = 0; options->pattern && i < held; i++)
			status |= check_region(&regions[i], options);
	}
	for (unsigned long i = 0; options->release && i < held; i++) {
		if (regions[i].map)
			status |= drop_region(fd, &regions[i]);
	}
	free(regions);
	if (close(fd) < 0)
		status = fail("cannot close", options->device);

	return status;
}

/* --- the script -------------------------------------------------------- */

/* A mapping the script made, found again by its physical address. */
struct mapping {
	struct mapping *next;
	unsigned long phys;
	unsigned long length;
	void *map;
};

struct script {
	int fd;
	const struct options *options;
	struct mapping *mappings;
};

static void answer(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
}

static void answer_errno(void)
{
	int error = errno;
	const char *name = strerrorname_np(error);

	answer("error %s (%d) %s", name ? name : "E?", error, strerror(error));
}

static void answer_usage(const char *why)
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

	*temporary = map_region(script->fd, phys, length);
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
	if (ioctl(script->fd, CMA_MEM_ALLOCATE, &info) < 0)
		return answer_errno();
	answer("ok 0x%lx 0x%lx 0x%lx", info.phys, info.length, info.virt);
}

static void do_release(struct script *script, char **words)
{
	struct cma_info info = { 0 };

	if (!parse_ulong(words[0], &info.phys) || !parse_size(words[1], &info.length))
		return answer_usage("release PHYS LEN");
	if (ioctl(script->fd, CMA_MEM_RELEASE, &info) < 0)
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
	mapping->map = mmap64(NULL, mapping->length, PROT_READ | PROT_WRITE, flags, script->fd,
			      (off64_t)mapping->phys);
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

static void do_reopen(struct script *script, char **words)
{
	int fd;

	(void)words;
	fd = open(script->options->device, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return answer_errno();
	close(script->fd);
	script->fd = fd;
	answer("ok");
}

/*
 * A child that has the mappings and the open file until it is told to stop:
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
	{ "fork", 0, do_fork },			/*              -> ok PID */
	{ "reap", 1, do_reap },			/* PID          kill and wait */
	{ "pid", 0, do_pid },			/*              -> ok PID */
};

static void script_line(struct script *script, char *line)
{
	char *words[5] = { NULL };
	char *save = NULL;
	int count = 0;

	for (char *word = strtok_r(line, " \t\r\n", &save); word && count < 5;
	     word = strtok_r(NULL, " \t\r\n", &save))
		words[count++] = word;
	if (count == 0)
		return answer_usage("empty line");

	for (size_t i = 0; i < sizeof(script_commands) / sizeof(script_commands[0]); i++) {
		if (strcmp(words[0], script_commands[i].name) != 0)
			continue;
		if (count - 1 != script_commands[i].arguments)
			return answer_usage("wrong number of arguments");
		return script_commands[i].run(script, words + 1);
	}
	answer_usage("unknown command");
}

static int run_script(int fd, const struct options *options)
{
	struct script script = { .fd = fd, .options = options };
	char line[256];

	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "quit", 4) == 0 && strspn(line + 4, " \t\r\n") == strlen(line + 4)) {
			answer("ok");
			break;
		}
		script_line(&script, line);
	}

	/* Not necessarily the file that main opened: see "reopen". */
	return close(script.fd) < 0 ? fail("cannot close", options->device) : EXIT_SUCCESS;
}

/* --- the command line -------------------------------------------------- */

static int usage(const char *why, const char *what)
{
	if (why)
		fprintf(stderr, "CMA_area_app: %s: %s\n", why, what);
	fprintf(stderr,
		"usage: CMA_area_app [--device PATH] [--size N[K|M]] [--count N] [--pattern HEX]\n"
		"                    [--hold] [--no-release]\n"
		"       CMA_area_app [--device PATH] --script\n");

	return EXIT_USAGE;
}

static const struct option long_options[] = {
	{ "size", required_argument, NULL, 's' },
	{ "count", required_argument, NULL, 'c' },
	{ "pattern", required_argument, NULL, 'p' },
	{ "device", required_argument, NULL, 'd' },
	{ "hold", no_argument, NULL, 'h' },
	{ "no-release", no_argument, NULL, 'n' },
	{ "script", no_argument, NULL, 'x' },
	{ NULL, 0, NULL, 0 },
};

static int parse_options(int argc, char **argv, struct options *options)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 's':
			if (!parse_size(optarg, &options->size))
				return usage("bad size", optarg);
			break;
		case 'c':
			if (!parse_ulong(optarg, &options->count) || options->count == 0 ||
			    options->count > MAX_COUNT)
				return usage("bad count", optarg);
			break;
		case 'p':
			if (!parse_u64(optarg, 16, &options->nonce))
				return usage("bad pattern", optarg);
			options->pattern = true;
			break;
		case 'd':
			options->device = optarg;
			break;
		case 'h':
			options->hold = true;
			break;
		case 'n':
			options->release = false;
			break;
		case 'x':
			options->script = true;
			break;
		default:
			return usage(NULL, NULL);
		}
	}
	if (optind < argc)
		return usage("unexpected argument", argv[optind]);

	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options options = {
		.device = DEFAULT_DEVICE,
		.size = DEFAULT_SIZE,
		.count = 1,
		.release = true,
	};
	int status;
	int fd;

	status = parse_options(argc, argv, &options);
	if (status != EXIT_SUCCESS)
		return status;

	fd = open(options.device, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail("cannot open", options.device);

	return options.script ? run_script(fd, &options) : run(fd, &options);
}

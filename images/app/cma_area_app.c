// SPDX-License-Identifier: MIT
/*
 * CMA_area_app: take memory from a CMA area through /dev/CMA_demo and use it.
 *
 * Without options it does what BiscuitOS's application does: allocate 1 MiB,
 * map it, write a greeting, read it back, release. The addresses it prints are
 * half-open: the end is the first byte after the region. "Virt" is where the
 * region is mapped in this process, as with BiscuitOS's.
 *
 * --script turns it into a server for tests: see script.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app.h"

#define DEFAULT_DEVICE "/dev/CMA_demo"
#define DEFAULT_SIZE (1024UL * 1024UL)
#define MAX_COUNT 4096UL
#define GREETING "BiscuitOS CMA area"

enum { EXIT_USAGE = 2 };

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

	return options.script ? run_script(fd, options.device) : run(fd, &options);
}

// SPDX-License-Identifier: MIT
/*
 * ring [--hold] LENGTH [TEXT]: takes LENGTH bytes, writes TEXT into them, and
 * prints address and length in hexadecimal. --hold keeps them until a signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring_abi.h"

static int failed(const char *what)
{
	fprintf(stderr, "ring: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int count, char **words)
{
	int hold = count > 1 && !strcmp(words[1], "--hold");
	struct ring_region region = { 0 };
	char *memory;
	int file;

	if (count < 2 + hold) {
		fprintf(stderr, "usage: ring [--hold] LENGTH [TEXT]\n");
		return 2;
	}
	region.length = strtoul(words[1 + hold], NULL, 0);
	file = open("/dev/ring", O_RDWR);
	if (file < 0)
		return failed("/dev/ring");
	if (ioctl(file, RING_GET, &region))
		return failed("RING_GET");
	memory = mmap(NULL, region.length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		return failed("mmap");
	if (count > 2 + hold)
		strncpy(memory, words[2 + hold], region.length);
	printf("%#x %#x\n", region.address, region.length);
	fflush(stdout);
	if (hold)
		pause();
	return 0;
}

// SPDX-License-Identifier: MIT
/* Patterns, mappings and numbers. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "app.h"

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

void pattern_fill(void *map, unsigned long length, uint64_t nonce, uint64_t first)
{
	volatile uint64_t *words = map;

	for (unsigned long i = 0; i < length / sizeof(*words); i++)
		words[i] = pattern_word(nonce, first + i);
}

/* Offset in bytes of the first damaged word, or @length if all is intact. */
unsigned long pattern_check(const void *map, unsigned long length, uint64_t nonce, uint64_t first)
{
	const volatile uint64_t *words = map;

	for (unsigned long i = 0; i < length / sizeof(*words); i++) {
		if (words[i] != pattern_word(nonce, first + i))
			return i * sizeof(*words);
	}

	return length;
}

void *map_region(int fd, unsigned long phys, unsigned long length)
{
	/* mmap2 takes the offset in pages: no address of 32 bits is too large. */
	return mmap64(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off64_t)phys);
}

bool parse_u64(const char *text, int base, uint64_t *value)
{
	char *end;

	if (*text == '\0' || strchr("+- \t", *text))
		return false;
	errno = 0;
	*value = strtoull(text, &end, base);

	return errno == 0 && *end == '\0';
}

bool parse_ulong(const char *text, unsigned long *value)
{
	uint64_t wide;

	if (!parse_u64(text, 0, &wide) || wide > ULONG_MAX)
		return false;
	*value = wide;

	return true;
}

/* A number with an optional K or M. */
bool parse_size(const char *text, unsigned long *value)
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

int fail(const char *what, const char *subject)
{
	int error = errno;

	fflush(stdout);
	fprintf(stderr, "CMA_area_app: %s %s: %s\n", what, subject, strerror(error));

	return EXIT_FAILURE;
}

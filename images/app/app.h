/* SPDX-License-Identifier: MIT */
/* What the parts of CMA_area_app share. */
#ifndef CMA_AREA_APP_H
#define CMA_AREA_APP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define CMA_MEM_ALLOCATE _IOW('m', 1, unsigned int)
#define CMA_MEM_RELEASE _IOW('m', 2, unsigned int)

/* The driver's view of a region. */
struct cma_info {
	unsigned long virt;
	unsigned long phys;
	unsigned long offset;
	unsigned long length;
};

/* common.c */
void pattern_fill(void *map, unsigned long length, uint64_t nonce, uint64_t first);
unsigned long pattern_check(const void *map, unsigned long length, uint64_t nonce, uint64_t first);
void *map_region(int fd, unsigned long phys, unsigned long length);
bool parse_u64(const char *text, int base, uint64_t *value);
bool parse_ulong(const char *text, unsigned long *value);
bool parse_size(const char *text, unsigned long *value);
int fail(const char *what, const char *subject);

/* script.c */
struct script;
int run_script(int fd, const char *device);
int script_fd(const struct script *script);
void answer(const char *format, ...) __attribute__((format(printf, 1, 2)));
void answer_errno(void);
void answer_usage(const char *why);

/* What the script's device gives, whether it is a driver's or a heap. */
int take_memory(const struct script *script, struct cma_info *info);
int drop_memory(const struct script *script, const struct cma_info *info);

/* heap.c */
bool is_heap(const char *device);
void heap_open(void);
int heap_allocate(int heap, struct cma_info *info);
int heap_release(const struct cma_info *info);
void heap_close(void);
void *heap_map(unsigned long phys, unsigned long length, int flags);
void do_tag(struct script *script, char **words);
void do_unplaced(struct script *script, char **words);
void do_place(struct script *script, char **words);

/* stress.c: commands of the script */
void do_cycle(struct script *script, char **words);
void do_churn(struct script *script, char **words);
void do_race(struct script *script, char **words);
void do_anon(struct script *script, char **words);
void do_tmpfs(struct script *script, char **words);
void do_anon_check(struct script *script, char **words);
void do_anon_free(struct script *script, char **words);
void do_pin(struct script *script, char **words);
void do_hold(struct script *script, char **words);
void do_unpin(struct script *script, char **words);

#endif

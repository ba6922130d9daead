/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef RING_ABI_H
#define RING_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* One region of memory for each open file, given back when it is closed. */
struct ring_region {
	__u32 length;	/* in: bytes; out: whole pages */
	__u32 address;	/* out: physical */
};

#define RING_GET _IOWR('r', 1, struct ring_region)

#endif

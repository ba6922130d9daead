// SPDX-License-Identifier: GPL-2.0-only
/*
 * List the active CMA areas in /proc/iomem.
 *
 * It shows System RAM and the kernel image inside it, but not where the CMA
 * areas lie. One resource for each, so that a physical address can be told to
 * be in an area, or not, from user space:
 *
 *   60000000-7fffffff : System RAM
 *     69000000-697fffff : linux,cma
 *     69800000-69ffffff : BiscuitOS_cma
 */
#define pr_fmt(fmt) "cma: " fmt

#include <linux/cma.h>
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/types.h>

/* No lock: at this time of the boot nobody else changes resources. */
static bool __init cma_is_listed(const struct resource *res)
{
	const struct resource *next;

	for (next = iomem_resource.child; next;) {
		if (next->start == res->start && next->end == res->end && next->name &&
		    !strcmp(next->name, res->name))
			return true;
		if (next->child && next->start <= res->start && next->end >= res->end)
			next = next->child;
		else
			next = next->sibling;
	}

	return false;
}

static int __init cma_insert_resource(struct cma *cma, void *data)
{
	phys_addr_t base = cma_get_base(cma);
	unsigned long size = cma_get_size(cma);
	struct resource *res;
	int ret;

	/* Activation failed: these pages are ordinary memory now. */
	if (!size)
		return 0;

	res = kzalloc(sizeof(*res), GFP_KERNEL);
	if (!res)
		return -ENOMEM;

	res->name = cma_get_name(cma);
	res->start = base;
	res->end = base + size - 1;
	res->flags = IORESOURCE_MEM | IORESOURCE_BUSY;

	/* A kernel that lists its areas itself. */
	if (cma_is_listed(res)) {
		kfree(res);
		return 0;
	}

	ret = insert_resource(&iomem_resource, res);
	if (ret) {
		pr_warn("cannot list area %s %pR in /proc/iomem: %d\n",
			res->name, res, ret);
		kfree(res);
	}

	/* One clash must not keep the other areas from being listed. */
	return 0;
}

static int __init cma_list_areas(void)
{
	return cma_for_each_area(cma_insert_resource, NULL);
}
/*
 * After core_initcall(cma_init_reserved_areas), which decides what is active,
 * before any module.
 */
subsys_initcall(cma_list_areas);

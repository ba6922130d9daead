/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a module comes by the memory of an area, kernel by kernel.
 *
 * A kernel with the harness's additions exports the per-device allocator and
 * find_cma_by_name(), as BiscuitOS's does. One without either exports from 7.1
 * on what lies below: cma_alloc() and the list of areas. The symbols are weak,
 * and what is there is chosen when the module is loaded, into variables: a
 * direct call of a function that is not there could not even be relocated.
 */
#ifndef CMA_DEMO_ACCESS_H
#define CMA_DEMO_ACCESS_H

#include <linux/cma.h>
#include <linux/device.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/of_reserved_mem.h>
#include <linux/string.h>
#include <linux/version.h>

/* Two headers were merged into one in 5.10. */
#if __has_include(<linux/dma-contiguous.h>)
#include <linux/dma-contiguous.h>
#else
#include <linux/dma-map-ops.h>
#endif

extern typeof(dma_alloc_from_contiguous) dma_alloc_from_contiguous __weak;
extern typeof(dma_release_from_contiguous) dma_release_from_contiguous __weak;
/* Declared here too: BiscuitOS's own kernel patch puts it in no header. */
extern struct cma *find_cma_by_name(const char *name) __weak;
/* A kernel patched by BiscuitOS lacks it. */
extern unsigned long cma_size_for_device(struct device *dev) __weak;

struct area_access {
	typeof(dma_alloc_from_contiguous) *alloc;
	typeof(dma_release_from_contiguous) *release;
	typeof(find_cma_by_name) *find;
	typeof(cma_size_for_device) *size;	/* NULL: nobody can say */
};

static struct area_access access;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 1, 0)
extern typeof(cma_alloc) cma_alloc __weak;
extern typeof(cma_release) cma_release __weak;
extern typeof(cma_get_name) cma_get_name __weak;
extern typeof(dev_get_cma_area) dev_get_cma_area __weak;
extern typeof(dma_contiguous_get_area_by_idx) dma_contiguous_get_area_by_idx __weak;

/* The same as dma_alloc_from_contiguous(), which such a kernel keeps to itself. */
static struct page *plain_alloc(struct device *dev, size_t count, unsigned int align,
				bool no_warn)
{
	align = min_t(unsigned int, align, CONFIG_CMA_ALIGNMENT);

	return cma_alloc(dev_get_cma_area(dev), count, align, no_warn);
}

static bool plain_release(struct device *dev, struct page *pages, int count)
{
	return cma_release(dev_get_cma_area(dev), pages, count);
}

static struct cma *plain_find(const char *name)
{
	struct cma *cma;
	unsigned int i;

	for (i = 0; (cma = dma_contiguous_get_area_by_idx(i)); i++) {
		if (!strcmp(cma_get_name(cma), name))
			return cma;
	}

	return NULL;
}

/* An area is as large as its node in the device tree came out. */
static unsigned long plain_size(struct device *dev)
{
	struct cma *cma = dev_get_cma_area(dev);
	struct device_node *parent, *node;
	struct reserved_mem *rmem = NULL;

	if (!cma)
		return 0;

	parent = of_find_node_by_path("/reserved-memory");
	for_each_available_child_of_node(parent, node) {
		if (!strcmp(kbasename(node->full_name), cma_get_name(cma))) {
			rmem = of_reserved_mem_lookup(node);
			of_node_put(node);
			break;
		}
	}
	of_node_put(parent);

	/* An area of the command line has no node: the allocator itself knows its end. */
	return rmem ? rmem->size : ULONG_MAX;
}

static bool plain_access(void)
{
	if (!&cma_alloc || !&cma_release || !&cma_get_name || !&dev_get_cma_area ||
	    !&dma_contiguous_get_area_by_idx)
		return false;

	access.alloc = plain_alloc;
	access.release = plain_release;
	access.find = plain_find;
	access.size = plain_size;

	return true;
}
#else
static bool plain_access(void)
{
	return false;
}
#endif

/* Returns false on a kernel that gives modules no way to an area. */
static bool choose_access(void)
{
	if (!dma_alloc_from_contiguous || !dma_release_from_contiguous || !find_cma_by_name)
		return plain_access();

	access.alloc = dma_alloc_from_contiguous;
	access.release = dma_release_from_contiguous;
	access.find = find_cma_by_name;
	access.size = cma_size_for_device;

	return true;
}

#endif

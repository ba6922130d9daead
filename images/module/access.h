/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a module comes by the memory of an area, kernel by kernel.
 *
 * A kernel with the harness's additions exports the per-device allocator and
 * find_cma_by_name(), as BiscuitOS's does. One without either exports from 7.1
 * on what lies below: cma_alloc() and the list of areas. The symbols are weak,
 * and what is there is chosen when the module is loaded, into variables: a
 * direct call of a function that is not there could not even be relocated.
 *
 * Any other kernel gives a device what all drivers have: the area that a node
 * of the device tree names as its memory-region, and coherent memory of it.
 */
#ifndef CMA_DEMO_ACCESS_H
#define CMA_DEMO_ACCESS_H

#include <linux/cma.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/of.h>
#include <linux/of_reserved_mem.h>
#include <linux/string.h>
#include <linux/version.h>
#include <linux/xarray.h>

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

static bool tree;
module_param(tree, bool, 0444);
MODULE_PARM_DESC(tree,
		 "take areas by the memory-region of a device tree node, and coherent memory, as on a kernel that exports nothing else (default N)");

struct area_access {
	typeof(dma_alloc_from_contiguous) *alloc;
	typeof(dma_release_from_contiguous) *release;
	struct cma *(*find)(struct device *dev, const char *name);
	typeof(cma_size_for_device) *size;	/* NULL: nobody can say */
	bool coherent;	/* the kernel's mapping is not cached */
};

static struct area_access access;

static struct cma *exported_find(struct device *dev, const char *name)
{
	return find_cma_by_name(name);
}

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

static struct cma *plain_find(struct device *dev, const char *name)
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

/* The kernel's address of what was allocated, by its first page frame. */
static DEFINE_XARRAY(tree_buffers);

static struct page *tree_alloc(struct device *dev, size_t count, unsigned int align, bool no_warn)
{
	gfp_t gfp = GFP_KERNEL | (no_warn ? __GFP_NOWARN : 0);
	dma_addr_t at;
	void *virt;

	/* Aligned by its length, as drivers ask for it themselves elsewhere. */
	virt = dma_alloc_coherent(dev, count << PAGE_SHIFT, &at, gfp);
	if (!virt)
		return NULL;

	if (xa_err(xa_store(&tree_buffers, PHYS_PFN(at), virt, GFP_KERNEL))) {
		dma_free_coherent(dev, count << PAGE_SHIFT, virt, at);
		return NULL;
	}

	return pfn_to_page(PHYS_PFN(at));
}

static bool tree_release(struct device *dev, struct page *pages, int count)
{
	void *virt = xa_erase(&tree_buffers, page_to_pfn(pages));

	if (virt)
		dma_free_coherent(dev, count << PAGE_SHIFT, virt, page_to_phys(pages));

	return virt;
}

static void tree_forget(void *dev)
{
	of_reserved_mem_device_release(dev);
}

/* Whether it is an area called @name; any area for NULL. */
static bool tree_is_area(struct device_node *region, const char *name)
{
	return of_property_read_bool(region, "reusable") &&
	       (!name || !strcmp(kbasename(region->full_name), name));
}

/* A node that has such an area as its memory-region, and the area's own; NULL if there is none. */
static struct device_node *tree_user(const char *name, struct device_node **region, int *index)
{
	struct device_node *user;
	int i;

	for_each_node_with_property(user, "memory-region") {
		for (i = 0; (*region = of_parse_phandle(user, "memory-region", i)); i++) {
			if (tree_is_area(*region, name)) {
				*index = i;
				return user;
			}
			of_node_put(*region);
		}
	}

	return NULL;
}

/* What is known of the area becomes the device's driver data. */
static struct cma *tree_find(struct device *dev, const char *name)
{
	struct device_node *user, *region;
	struct cma *cma = NULL;
	int index;

	user = tree_user(name, &region, &index);
	if (!user)
		return NULL;

	if (!of_reserved_mem_device_init_by_idx(dev, user, index) &&
	    !devm_add_action_or_reset(dev, tree_forget, dev)) {
		dev_set_drvdata(dev, of_reserved_mem_lookup(region));
		cma = dev->cma_area;
	}
	of_node_put(region);
	of_node_put(user);

	return cma;
}

/* Of the default area it is known where the device tree has one. */
static unsigned long tree_size(struct device *dev)
{
	struct reserved_mem *rmem = dev_get_drvdata(dev);
	struct device_node *node;

	if (!rmem) {
		node = of_find_node_with_property(NULL, "linux,cma-default");
		rmem = node ? of_reserved_mem_lookup(node) : NULL;
		of_node_put(node);
	}

	return rmem ? rmem->size : ULONG_MAX;
}

static bool tree_access(void)
{
	struct device_node *user, *region;
	int index;

	user = tree_user(NULL, &region, &index);
	if (!user)
		return false;
	of_node_put(region);
	of_node_put(user);

	access.alloc = tree_alloc;
	access.release = tree_release;
	access.find = tree_find;
	access.size = tree_size;
	access.coherent = true;

	return true;
}

/* Returns false on a kernel that gives modules no way to an area. */
static bool choose_access(void)
{
	if (tree)
		return tree_access();
	if (!dma_alloc_from_contiguous || !dma_release_from_contiguous || !find_cma_by_name)
		return plain_access() || tree_access();

	access.alloc = dma_alloc_from_contiguous;
	access.release = dma_release_from_contiguous;
	access.find = exported_find;
	access.size = cma_size_for_device;

	return true;
}

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls the allocator and the reserved memory core as a test says: what they
 * promise to drivers that do wrong, and to devices whose node names an area.
 *
 * A write to /sys/module/cma_calls/parameters/call is one call, reading it
 * gives the answer to the last one:
 *
 *   alloc AREA COUNT ORDER    page frame number, or "null"
 *   warned AREA COUNT ORDER   the same, and a failure is to be logged
 *   release AREA PFN COUNT    "true" or "false"; PFN 0 is no page at all
 *                             AREA "-" is none of the device's own: the default one
 *   take NODE INDEX           the device gets the area that the node names: 0 or -errno
 *   named NODE NAME           the same by a name in memory-region-names
 *   give                      and gives it back
 *   coherent SIZE             bus address of coherent memory for the device, or "null"
 *   free                      gives that memory back
 *   pages SIZE                bus address of pages for the device (from 5.10 on), or "null"
 *   put                       gives these back
 *   lookup NODE               base and size of the reserved memory of a node, or "null"
 *
 * Numbers are as C has them.
 */
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/of.h>
#include <linux/of_reserved_mem.h>
#include <linux/platform_device.h>
#include <linux/string.h>
#include <linux/version.h>

#include "access.h"

#define NAME_FORMAT	"%63s"

static struct platform_device *pdev;
static char last_answer[80];
static struct {
	size_t size;
	void *virt;
	dma_addr_t handle;
} coherent;

/* A device without an area of its own. */
static bool is_none(const char *name)
{
	return !strcmp(name, "-");
}

static struct cma *find_area(struct device *dev, const char *name)
{
	return is_none(name) ? NULL : access.find(dev, name);
}

static void call_alloc(struct device *dev, const char *name, unsigned long count,
		       unsigned int order, bool no_warn)
{
	struct page *page;

	dev->cma_area = find_area(dev, name);
	page = dev->cma_area || is_none(name) ? access.alloc(dev, count, order, no_warn) : NULL;
	dev->cma_area = NULL;
	if (page)
		scnprintf(last_answer, sizeof(last_answer), "%#lx", page_to_pfn(page));
	else
		strscpy(last_answer, "null", sizeof(last_answer));
}

static void call_release(struct device *dev, const char *name, unsigned long pfn,
			 unsigned long count)
{
	bool released;

	dev->cma_area = find_area(dev, name);
	released = access.release(dev, pfn ? pfn_to_page(pfn) : NULL, count);
	dev->cma_area = NULL;
	strscpy(last_answer, released ? "true" : "false", sizeof(last_answer));
}

static void call_take(struct device *dev, const char *path, int index)
{
	struct device_node *node = of_find_node_by_path(path);
	int ret = node ? of_reserved_mem_device_init_by_idx(dev, node, index) : -ENOENT;

	of_node_put(node);
	scnprintf(last_answer, sizeof(last_answer), "%d", ret);
}

static int init_by_name(struct device *dev, struct device_node *node, const char *name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 10, 0)
	return of_reserved_mem_device_init_by_name(dev, node, name);
#else
	/* 5.6 brought it. */
	int index = of_property_match_string(node, "memory-region-names", name);

	return of_reserved_mem_device_init_by_idx(dev, node, index);
#endif
}

static void call_named(struct device *dev, const char *path, const char *name)
{
	struct device_node *node = of_find_node_by_path(path);
	int ret = node ? init_by_name(dev, node, name) : -ENOENT;

	of_node_put(node);
	scnprintf(last_answer, sizeof(last_answer), "%d", ret);
}

static void call_coherent(struct device *dev, size_t size)
{
	coherent.virt = dma_alloc_coherent(dev, size, &coherent.handle, GFP_KERNEL);
	coherent.size = size;
	if (coherent.virt)
		scnprintf(last_answer, sizeof(last_answer), "%pad", &coherent.handle);
	else
		strscpy(last_answer, "null", sizeof(last_answer));
}

static void call_free(struct device *dev)
{
	if (coherent.virt)
		dma_free_coherent(dev, coherent.size, coherent.virt, coherent.handle);
	coherent.virt = NULL;
	strscpy(last_answer, "ok", sizeof(last_answer));
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 10, 0)
static struct {
	size_t size;
	struct page *first;
	dma_addr_t handle;
} pages;

static int call_pages(struct device *dev, size_t size)
{
	pages.first = dma_alloc_pages(dev, size, &pages.handle, DMA_BIDIRECTIONAL, GFP_KERNEL);
	pages.size = size;
	if (pages.first)
		scnprintf(last_answer, sizeof(last_answer), "%pad", &pages.handle);
	else
		strscpy(last_answer, "null", sizeof(last_answer));
	return 0;
}

static int call_put(struct device *dev)
{
	if (pages.first)
		dma_free_pages(dev, pages.size, pages.first, pages.handle, DMA_BIDIRECTIONAL);
	pages.first = NULL;
	strscpy(last_answer, "ok", sizeof(last_answer));
	return 0;
}
#else
static int call_pages(struct device *dev, size_t size)
{
	return -EOPNOTSUPP;
}

static int call_put(struct device *dev)
{
	return -EOPNOTSUPP;
}
#endif

static void call_lookup(const char *path)
{
	struct device_node *node = of_find_node_by_path(path);
	struct reserved_mem *rmem = node ? of_reserved_mem_lookup(node) : NULL;

	of_node_put(node);
	if (rmem)
		scnprintf(last_answer, sizeof(last_answer), "%pa %pa", &rmem->base, &rmem->size);
	else
		strscpy(last_answer, "null", sizeof(last_answer));
}

static int call_set(const char *text, const struct kernel_param *param)
{
	struct device *dev = &pdev->dev;
	unsigned long one, two;
	char name[64], other[64];

	if (sscanf(text, "alloc " NAME_FORMAT " %li %li", name, &one, &two) == 3)
		call_alloc(dev, name, one, two, true);
	else if (sscanf(text, "warned " NAME_FORMAT " %li %li", name, &one, &two) == 3)
		call_alloc(dev, name, one, two, false);
	else if (sscanf(text, "release " NAME_FORMAT " %li %li", name, &one, &two) == 3)
		call_release(dev, name, one, two);
	else if (sscanf(text, "take " NAME_FORMAT " %li", name, &one) == 2)
		call_take(dev, name, one);
	else if (sscanf(text, "named " NAME_FORMAT " " NAME_FORMAT, name, other) == 2)
		call_named(dev, name, other);
	else if (sscanf(text, "coherent %li", &one) == 1)
		call_coherent(dev, one);
	else if (sscanf(text, "pages %li", &one) == 1)
		return call_pages(dev, one);
	else if (sysfs_streq(text, "put"))
		return call_put(dev);
	else if (sscanf(text, "lookup " NAME_FORMAT, name) == 1)
		call_lookup(name);
	else if (sysfs_streq(text, "free"))
		call_free(dev);
	else if (sysfs_streq(text, "give"))
		of_reserved_mem_device_release(dev);
	else
		return -EINVAL;

	return 0;
}

static int call_get(char *buffer, const struct kernel_param *param)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n", last_answer);
}

static const struct kernel_param_ops call_ops = {
	.set = call_set,
	.get = call_get,
};
module_param_cb(call, &call_ops, NULL, 0600);
MODULE_PARM_DESC(call, "one call, and its answer");

static int __init calls_init(void)
{
	if (!choose_access())
		return -EOPNOTSUPP;

	pdev = platform_device_register_simple("cma_calls", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);

	return dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(32));
}
module_init(calls_init);

static void __exit calls_exit(void)
{
	call_free(&pdev->dev);
	of_reserved_mem_device_release(&pdev->dev);
	platform_device_unregister(pdev);
}
module_exit(calls_exit);

MODULE_DESCRIPTION("Calls of the contiguous memory allocator for tests");
MODULE_LICENSE("GPL");

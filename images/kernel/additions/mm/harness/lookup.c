// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a driver may ask about CMA areas. Only the public accessors are used,
 * because the layout of struct cma differs between kernel versions.
 */
#include <linux/cma.h>
#include <linux/device.h>
#include <linux/export.h>
#include <linux/string.h>
#include <linux/types.h>

/* Two headers were merged into one in 5.10. */
#if __has_include(<linux/dma-contiguous.h>)
#include <linux/dma-contiguous.h>
#else
#include <linux/dma-map-ops.h>
#endif

/* Declared here, so that no header of the kernel's has to change. */
struct cma *find_cma_by_name(const char *name);
unsigned long cma_size_for_device(struct device *dev);

#ifndef TREE_DEFINES_find_cma_by_name
struct cma_lookup {
	const char *name;
	struct cma *found;
};

static int cma_match_name(struct cma *cma, void *data)
{
	struct cma_lookup *lookup = data;
	const char *name = cma_get_name(cma);

	/* The size of an area whose activation failed is zero. */
	if (!cma_get_size(cma) || !name || strcmp(name, lookup->name))
		return 0;

	lookup->found = cma;
	return 1;
}

/**
 * find_cma_by_name() - find an active CMA area
 * @name: name of the area, as its device tree node is called
 *
 * Areas come into being at boot and never go away, so the result stays
 * valid and needs no reference.
 *
 * Return: the first active area called @name, or NULL if there is none.
 */
struct cma *find_cma_by_name(const char *name)
{
	struct cma_lookup lookup = {
		.name = name,
		.found = NULL,
	};

	if (!name)
		return NULL;

	cma_for_each_area(cma_match_name, &lookup);

	return lookup.found;
}
#endif
#ifndef TREE_EXPORTS_find_cma_by_name
EXPORT_SYMBOL_GPL(find_cma_by_name);
#endif

#ifndef TREE_DEFINES_cma_size_for_device
/**
 * cma_size_for_device() - size of the area that serves a device
 * @dev: the device; the default area serves it if it has none of its own
 *
 * Return: size in bytes, 0 if no area serves @dev.
 */
unsigned long cma_size_for_device(struct device *dev)
{
	struct cma *cma = dev_get_cma_area(dev);

	return cma ? cma_get_size(cma) : 0;
}
#endif
#ifndef TREE_EXPORTS_cma_size_for_device
EXPORT_SYMBOL_GPL(cma_size_for_device);
#endif

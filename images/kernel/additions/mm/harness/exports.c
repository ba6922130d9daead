// SPDX-License-Identifier: GPL-2.0-only
/*
 * A driver that owns a CMA area of its own is a loadable module here. It takes
 * its pages with dma_alloc_from_contiguous(), which honours dev->cma_area, and
 * gives them back with dma_release_from_contiguous(). Neither is reachable from
 * a module; an export may stand in another file than the function.
 */
#include <linux/export.h>
#include <linux/types.h>

/* Two headers were merged into one in 5.10. */
#if __has_include(<linux/dma-contiguous.h>)
#include <linux/dma-contiguous.h>
#else
#include <linux/dma-map-ops.h>
#endif

#ifdef CONFIG_DMA_CMA
#ifndef TREE_EXPORTS_dma_alloc_from_contiguous
EXPORT_SYMBOL_GPL(dma_alloc_from_contiguous);
#endif
#ifndef TREE_EXPORTS_dma_release_from_contiguous
EXPORT_SYMBOL_GPL(dma_release_from_contiguous);
#endif
#endif

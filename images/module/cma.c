// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hand out memory of a named CMA area to user space, through /dev/CMA_demo.
 *
 * The interface is BiscuitOS's: two ioctls that take a struct cma_info, and
 * mmap() at an offset that is the physical address.
 *
 * Regions belong to the open file that allocated them. They are given back by
 * CMA_MEM_RELEASE, and at the latest when the last reference to the file goes:
 * a mapping is such a reference, so a killed process leaks nothing and no page
 * is freed while it is mapped. CMA_MEM_RELEASE of a region that is mapped
 * anywhere (also in a forked child) is refused with EBUSY for the same reason.
 *
 * Lock order: mmap_lock, then cma_opener.lock. Hence no access to user memory
 * with cma_opener.lock held.
 */
#include <linux/cma.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/ioctl.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "access.h"

#define DRIVER_NAME		"CMA_demo"
#define DEFAULT_AREA		"default"
#define MAX_DEVICES		8

#define CMA_MEM_ALLOCATE	_IOW('m', 1, unsigned int)
#define CMA_MEM_RELEASE		_IOW('m', 2, unsigned int)

static char *area = "BiscuitOS_cma";
module_param(area, charp, 0444);
MODULE_PARM_DESC(area,
		 "CMA areas to serve, separated by ':', one device each; an empty entry or '"
		 DEFAULT_AREA "' means the area of devices that name none (default BiscuitOS_cma)");

static char *name = DRIVER_NAME;
module_param(name, charp, 0444);
MODULE_PARM_DESC(name,
		 "name of the first device node; the others have 1, 2, ... appended (default "
		 DRIVER_NAME ")");

/* What both ioctls take. Lengths and addresses are in bytes. */
struct cma_info {
	unsigned long virt;	/* out: kernel address, 0 if in highmem */
	unsigned long phys;	/* out of ALLOCATE, into RELEASE */
	unsigned long offset;	/* not used by the driver */
	unsigned long length;	/* in */
};

/* One device node, serving one area. */
struct cma_demo {
	struct miscdevice misc;
	struct platform_device *pdev;
	const char *area;
	char node[32];
	int error;		/* what probe said: the driver core keeps it to itself */
};

/* One open file. */
struct cma_opener {
	struct cma_demo *demo;
	struct mutex lock;	/* guards regions and their mappings */
	struct list_head regions;
};

struct cma_region {
	struct list_head list;
	struct cma_opener *opener;
	unsigned long pfn;
	unsigned long count;	/* pages */
	unsigned int mappings;
};

static struct cma_demo demos[MAX_DEVICES];
static unsigned int demo_count;
static char *area_list;

static struct device *demo_device(struct cma_demo *demo)
{
	return &demo->pdev->dev;
}

static void cma_free_pages(struct cma_demo *demo, unsigned long pfn, unsigned long count)
{
	if (!access.release(demo_device(demo), pfn_to_page(pfn), count))
		dev_err(demo_device(demo), "pfn %#lx is not in the area it came from\n", pfn);
}

static bool cma_length_valid(struct cma_demo *demo, unsigned long length)
{
	if (!length || offset_in_page(length))
		return false;

	return !access.size || length <= access.size(demo_device(demo));
}

static long cma_ioctl_allocate(struct cma_opener *opener, struct cma_info __user *arg)
{
	struct device *dev = demo_device(opener->demo);
	struct cma_region *region;
	struct cma_info info;
	phys_addr_t phys;
	struct page *page;
	unsigned long i;

	if (copy_from_user(&info, arg, sizeof(info)))
		return -EFAULT;
	if (!cma_length_valid(opener->demo, info.length))
		return -EINVAL;

	region = kzalloc(sizeof(*region), GFP_KERNEL);
	if (!region)
		return -ENOMEM;

	region->opener = opener;
	region->count = info.length >> PAGE_SHIFT;
	/* An exhausted area is the caller's affair: no warning in the log. */
	page = access.alloc(dev, region->count, get_order(info.length), true);
	if (!page) {
		kfree(region);
		return -ENOMEM;
	}
	region->pfn = page_to_pfn(page);

	/* Whatever was here before must not reach the caller. */
	for (i = 0; i < region->count; i++) {
		clear_highpage(pfn_to_page(region->pfn + i));
		cond_resched();
	}

	phys = page_to_phys(page);
	info.phys = phys;
	info.virt = PageHighMem(page) ? 0 : (unsigned long)page_address(page);
	if (info.phys != phys || copy_to_user(arg, &info, sizeof(info))) {
		cma_free_pages(opener->demo, region->pfn, region->count);
		kfree(region);
		return info.phys != phys ? -EOVERFLOW : -EFAULT;
	}

	/* Last, so that nobody can map it before it is certain to stay. */
	mutex_lock(&opener->lock);
	list_add_tail(&region->list, &opener->regions);
	mutex_unlock(&opener->lock);

	return 0;
}

/* The region of @opener that has all of [@pfn, @pfn + @count), or NULL. */
static struct cma_region *cma_find_region(struct cma_opener *opener, unsigned long pfn,
					  unsigned long count)
{
	struct cma_region *region;

	lockdep_assert_held(&opener->lock);

	list_for_each_entry(region, &opener->regions, list) {
		if (pfn >= region->pfn && count <= region->count &&
		    pfn - region->pfn <= region->count - count)
			return region;
	}

	return NULL;
}

static long cma_ioctl_release(struct cma_opener *opener, struct cma_info __user *arg)
{
	struct cma_region *region;
	struct cma_info info;
	unsigned long count;
	long ret = 0;

	if (copy_from_user(&info, arg, sizeof(info)))
		return -EFAULT;
	if (!info.length || offset_in_page(info.phys | info.length))
		return -EINVAL;
	count = info.length >> PAGE_SHIFT;

	mutex_lock(&opener->lock);
	region = cma_find_region(opener, info.phys >> PAGE_SHIFT, count);
	if (!region || region->pfn != info.phys >> PAGE_SHIFT || region->count != count)
		ret = -EINVAL;
	else if (region->mappings)
		ret = -EBUSY;
	else
		list_del(&region->list);
	mutex_unlock(&opener->lock);

	if (ret)
		return ret;

	cma_free_pages(opener->demo, region->pfn, region->count);
	kfree(region);

	return 0;
}

static long cma_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cma_opener *opener = file->private_data;

	switch (cmd) {
	case CMA_MEM_ALLOCATE:
		return cma_ioctl_allocate(opener, (struct cma_info __user *)arg);
	case CMA_MEM_RELEASE:
		return cma_ioctl_release(opener, (struct cma_info __user *)arg);
	default:
		return -ENOTTY;
	}
}

/* Also called for each copy of a mapping: fork, a split, a move. */
static void cma_vm_open(struct vm_area_struct *vma)
{
	struct cma_region *region = vma->vm_private_data;

	mutex_lock(&region->opener->lock);
	region->mappings++;
	mutex_unlock(&region->opener->lock);
}

static void cma_vm_close(struct vm_area_struct *vma)
{
	struct cma_region *region = vma->vm_private_data;

	/*
	 * Not touched after the unlock: with no mappings left, another thread
	 * may release the region at once. The opener outlives vma->vm_file.
	 */
	struct cma_opener *opener = region->opener;

	mutex_lock(&opener->lock);
	region->mappings--;
	mutex_unlock(&opener->lock);
}

static const struct vm_operations_struct cma_vm_ops = {
	.open = cma_vm_open,
	.close = cma_vm_close,
};

static int cma_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct cma_opener *opener = file->private_data;
	unsigned long size = vma->vm_end - vma->vm_start;
	struct cma_region *region;
	int ret;

	/* A private mapping would quietly move writes to other pages. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	mutex_lock(&opener->lock);
	region = cma_find_region(opener, vma->vm_pgoff, size >> PAGE_SHIFT);
	if (region)
		region->mappings++;
	mutex_unlock(&opener->lock);
	if (!region)
		return -EINVAL;

	/* The same pages must not be cached in one mapping and not in the other. */
	if (access.coherent)
		vma->vm_page_prot = pgprot_writecombine(vma->vm_page_prot);
	/* Sets VM_IO, VM_PFNMAP, VM_DONTEXPAND and VM_DONTDUMP on every kernel. */
	ret = remap_pfn_range(vma, vma->vm_start, vma->vm_pgoff, size, vma->vm_page_prot);
	if (ret) {
		mutex_lock(&opener->lock);
		region->mappings--;
		mutex_unlock(&opener->lock);
		return ret;
	}

	vma->vm_private_data = region;
	vma->vm_ops = &cma_vm_ops;

	return 0;
}

static int cma_open(struct inode *inode, struct file *file)
{
	struct cma_demo *demo = container_of(file->private_data, struct cma_demo, misc);
	struct cma_opener *opener;

	opener = kzalloc(sizeof(*opener), GFP_KERNEL);
	if (!opener)
		return -ENOMEM;

	opener->demo = demo;
	mutex_init(&opener->lock);
	INIT_LIST_HEAD(&opener->regions);
	file->private_data = opener;

	return 0;
}

static int cma_close(struct inode *inode, struct file *file)
{
	struct cma_opener *opener = file->private_data;
	struct cma_region *region, *next;

	list_for_each_entry_safe(region, next, &opener->regions, list) {
		cma_free_pages(opener->demo, region->pfn, region->count);
		kfree(region);
	}
	mutex_destroy(&opener->lock);
	kfree(opener);

	return 0;
}

static const struct file_operations cma_fops = {
	.owner = THIS_MODULE,
	.open = cma_open,
	.release = cma_close,
	.unlocked_ioctl = cma_ioctl,
	.mmap = cma_mmap,
};

static void cma_deregister(void *data)
{
	struct cma_demo *demo = data;

	misc_deregister(&demo->misc);
}

static int cma_bind_area(struct cma_demo *demo)
{
	struct device *dev = demo_device(demo);
	bool use_default = !*demo->area || !strcmp(demo->area, DEFAULT_AREA);

	/* Only of use where memory comes from the DMA interface. */
	if (access.coherent && dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(32)))
		return -EIO;
	if (!use_default) {
		dev->cma_area = access.find(dev, demo->area);
		if (!dev->cma_area) {
			dev_err(dev, "no CMA area is called %s\n", demo->area);
			return -ENODEV;
		}
	} else if (access.size && !access.size(dev)) {
		dev_err(dev, "there is no default CMA area\n");
		return -ENODEV;
	}
	pr_info("Find CMA: %s\n", use_default ? DEFAULT_AREA : demo->area);

	return 0;
}

static int cma_probe(struct platform_device *pdev)
{
	struct cma_demo *demo = &demos[pdev->id];

	demo->pdev = pdev;
	demo->error = cma_bind_area(demo);
	if (demo->error)
		return demo->error;

	demo->misc.minor = MISC_DYNAMIC_MINOR;
	demo->misc.name = demo->node;
	demo->misc.fops = &cma_fops;
	demo->misc.parent = &pdev->dev;
	demo->error = misc_register(&demo->misc);
	if (demo->error) {
		dev_err(&pdev->dev, "cannot register /dev/%s: %d\n", demo->node, demo->error);
		return demo->error;
	}

	/* No remove callback: its type differs between kernel versions. */
	demo->error = devm_add_action_or_reset(&pdev->dev, cma_deregister, demo);

	return demo->error;
}

static struct platform_driver cma_driver = {
	.probe = cma_probe,
	.driver = {
		.name = DRIVER_NAME,
		/* Unbinding through sysfs would free what open files use. */
		.suppress_bind_attrs = true,
		/* Init has to know how each probe ended. */
		.probe_type = PROBE_FORCE_SYNCHRONOUS,
	},
};

static void cma_remove_devices(void)
{
	while (demo_count)
		platform_device_unregister(demos[--demo_count].pdev);
}

static int cma_add_device(const char *area_name)
{
	struct cma_demo *demo;
	struct platform_device *pdev;
	int length;

	if (demo_count == MAX_DEVICES) {
		pr_err("%s: more than %d areas\n", DRIVER_NAME, MAX_DEVICES);
		return -EINVAL;
	}

	demo = &demos[demo_count];
	demo->area = area_name;
	/* Stays if there is no driver to probe: then nothing was bound. */
	demo->error = -ENODEV;
	if (demo_count)
		length = snprintf(demo->node, sizeof(demo->node), "%s%u", name, demo_count);
	else
		length = snprintf(demo->node, sizeof(demo->node), "%s", name);
	if (length <= 0 || length >= sizeof(demo->node) || strchr(name, '/')) {
		pr_err("%s: bad device name %s\n", DRIVER_NAME, name);
		return -EINVAL;
	}

	pdev = platform_device_register_simple(DRIVER_NAME, demo_count, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	demo->pdev = pdev;
	demo_count++;

	return demo->error;
}

static int __init cma_init(void)
{
	char *rest, *entry;
	int ret;

	if (!choose_access()) {
		pr_err("%s: this kernel exports no way to the areas, and no node of the tree has one\n",
		       DRIVER_NAME);
		return -ENOSYS;
	}

	area_list = kstrdup(area, GFP_KERNEL);
	if (!area_list)
		return -ENOMEM;

	ret = platform_driver_register(&cma_driver);
	if (ret)
		goto free_list;

	rest = area_list;
	while ((entry = strsep(&rest, ":"))) {
		ret = cma_add_device(entry);
		if (ret)
			goto remove;
	}

	return 0;

remove:
	cma_remove_devices();
	platform_driver_unregister(&cma_driver);
free_list:
	kfree(area_list);
	return ret;
}
module_init(cma_init);

static void __exit cma_exit(void)
{
	cma_remove_devices();
	platform_driver_unregister(&cma_driver);
	kfree(area_list);
}
module_exit(cma_exit);

MODULE_DESCRIPTION("User space access to the memory of named CMA areas");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A buffer of contiguous memory for each program that opens /dev/ring, from
 * the area that the device tree gives the device ("memory-region").
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of_reserved_mem.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ring_abi.h"

static struct device *ring_device;

struct ring_file {
	struct mutex lock;
	void *memory;
	dma_addr_t address;
	size_t length;
};

static int ring_open(struct inode *inode, struct file *file)
{
	struct ring_file *ring = kzalloc(sizeof(*ring), GFP_KERNEL);

	if (!ring)
		return -ENOMEM;
	mutex_init(&ring->lock);
	file->private_data = ring;
	return 0;
}

static int ring_release(struct inode *inode, struct file *file)
{
	struct ring_file *ring = file->private_data;

	if (ring->memory)
		dma_free_coherent(ring_device, ring->length, ring->memory,
				  ring->address);
	kfree(ring);
	return 0;
}

static long ring_get(struct ring_file *ring, struct ring_region *region)
{
	size_t length = PAGE_ALIGN(region->length);

	if (ring->memory)
		return -EBUSY;
	if (!length)
		return -EINVAL;
	ring->memory = dma_alloc_coherent(ring_device, length, &ring->address,
					  GFP_KERNEL | __GFP_NOWARN);
	if (!ring->memory)
		return -ENOMEM;
	ring->length = length;
	region->length = length;
	region->address = ring->address;
	return 0;
}

static long ring_ioctl(struct file *file, unsigned int command,
		       unsigned long argument)
{
	struct ring_file *ring = file->private_data;
	void __user *user = (void __user *)argument;
	struct ring_region region;
	long result;

	if (command != RING_GET)
		return -ENOTTY;
	if (copy_from_user(&region, user, sizeof(region)))
		return -EFAULT;
	mutex_lock(&ring->lock);
	result = ring_get(ring, &region);
	mutex_unlock(&ring->lock);
	if (!result && copy_to_user(user, &region, sizeof(region)))
		return -EFAULT;
	return result;
}

static int ring_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ring_file *ring = file->private_data;
	int result = -ENXIO;

	/* The mapping keeps the file open, and so the memory. */
	mutex_lock(&ring->lock);
	if (ring->memory)
		result = dma_mmap_coherent(ring_device, vma, ring->memory,
					   ring->address, ring->length);
	mutex_unlock(&ring->lock);
	return result;
}

static const struct file_operations ring_operations = {
	.owner = THIS_MODULE,
	.open = ring_open,
	.release = ring_release,
	.unlocked_ioctl = ring_ioctl,
	.mmap = ring_mmap,
};

static struct miscdevice ring_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ring",
	.fops = &ring_operations,
};

static void ring_give_back(void *device)
{
	of_reserved_mem_device_release(device);
}

static void ring_gone(void *misc)
{
	misc_deregister(misc);
}

static int ring_probe(struct platform_device *platform)
{
	struct device *device = &platform->dev;
	int result = dma_set_mask_and_coherent(device, DMA_BIT_MASK(32));

	if (!result)
		result = of_reserved_mem_device_init(device);
	if (!result)
		result = devm_add_action_or_reset(device, ring_give_back, device);
	if (result)
		return dev_err_probe(device, result, "no memory-region\n");
	ring_device = device;
	result = misc_register(&ring_misc);
	if (result)
		return result;
	return devm_add_action_or_reset(device, ring_gone, &ring_misc);
}

static const struct of_device_id ring_ids[] = {
	{ .compatible = "example,ring" },
	{ }
};
MODULE_DEVICE_TABLE(of, ring_ids);

static struct platform_driver ring_driver = {
	.probe = ring_probe,
	.driver = {
		.name = "ring",
		.of_match_table = ring_ids,
		/* A program may have the file open: only the module's count knows. */
		.suppress_bind_attrs = true,
	},
};
module_platform_driver(ring_driver);

MODULE_DESCRIPTION("Contiguous buffers from an area of its own");
MODULE_LICENSE("GPL");

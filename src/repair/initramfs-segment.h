/* initramfs-segment.h - the archive that adds drivers to one kernel's initramfs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "guest/guest.h"
#include "repair/initramfs-image.h"
#include "repair/modules.h"

/* The modules of kernel VERSION that an image holds: name (as h2k_module_name()) -> char *, the
 * member's name. */
GHashTable *h2k_initramfs_modules (const H2kInitramfs *image, const char *version);

typedef struct
{
  H2kTree *tree;
  const H2kKernel *kernel;
  const H2kModules *modules;
  const H2kInitramfs *image;
  GPtrArray *drivers; /* char *: names of modules that shall be there and be loaded */
  const char *resume; /* initramfs-tools: the device to resume from instead; NULL: as it is */
} H2kInitramfsRequest;

typedef struct
{
  GBytes *archive;       /* newc */
  guint modules;         /* how many it adds */
  gboolean resume;       /* whether it says what to resume from */
  gboolean only_by_udev; /* no load list that the image's maker is known to read was written */
} H2kInitramfsAddition;

void h2k_initramfs_addition_clear (H2kInitramfsAddition *addition);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kInitramfsAddition, h2k_initramfs_addition_clear)

/* Errors: H2K_ERROR_REPAIR (a module or an index cannot be used, nothing in the image would load
 * the drivers), H2K_ERROR_FILESYSTEM. */
gboolean h2k_initramfs_make_addition (const H2kInitramfsRequest *request,
                                      H2kInitramfsAddition *addition, GError **error);

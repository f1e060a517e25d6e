/* fuzz-cpio.c - initramfs images: segments, decompression and cpio members, and the links in them.
 * The input is read as an image and as an archive in pieces.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/initramfs-segment.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

#define LIMIT (4u << 20)
#define PIECE 7

static GBytes *
read_bytes (guint64 offset, gsize length, gpointer data, GError **error)
{
  g_assert (offset + length <= g_bytes_get_size (data));
  return g_bytes_new_from_bytes (data, offset, length);
}

static void
read_image (GBytes *bytes)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kInitramfs) image
      = h2k_initramfs_read (read_bytes, bytes, g_bytes_get_size (bytes), LIMIT, &error);
  g_autofree char *path = image ? h2k_initramfs_resolve (image, "lib/modules/6.1/a.ko") : NULL;
  g_autoptr (GHashTable) modules = image ? h2k_initramfs_modules (image, "6.1") : NULL;

  g_assert (!image == !!error);
  g_assert (!path || *path != '/');
  g_assert (!modules || g_hash_table_size (modules) <= g_hash_table_size (image->members));
}

static gsize
keep (const H2kCpioEntry *entry, gpointer data)
{
  return 64;
}

static gboolean
member (const H2kCpioEntry *entry, GBytes *content, gpointer data, GError **error)
{
  g_assert (*entry->name && *entry->name != '/' && !strstr (entry->name, "//"));
  g_assert (!content || g_bytes_get_size (content) == entry->size);
  return TRUE;
}

static void
read_in_pieces (const guint8 *data, gsize size)
{
  static const H2kCpioHandler handler = {keep, member};
  g_autoptr (H2kCpioReader) reader = h2k_cpio_reader_new (&handler, NULL);
  gsize used = 1;

  for (gsize i = 0; i < size && used; i += used)
    if (!h2k_cpio_reader_feed (reader, data + i, MIN (PIECE, size - i), &used, NULL))
      used = 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);

  read_image (bytes);
  read_in_pieces (data, size);
  return 0;
}

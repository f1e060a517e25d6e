/* fuzz-bcd.c - any bytes as a boot configuration: read, followed, and changed; and as a boot.ini.
 *
 * The first 512 bytes are the hive's base block, to which the right checksum is given; the others
 * are bins, with zeros up to the next page.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../unit/registry/memory-fs.h"
#include "guest/boot-ini.h"
#include "registry/bcd.h"
#include "registry/regf.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
look (const H2kBcd *bcd, const H2kBcdObject *object)
{
  static const guint32 booleans[] = {H2K_BCD_EMS, H2K_BCD_BOOT_EMS, H2K_BCD_GRAPHICS_DISABLED};

  for (guint i = 0; i < object->elements->len; i++)
    {
      const H2kBcdElement *element = object->elements->pdata[i];
      g_autofree char *text = h2k_bcd_text (object, element->type);
      g_auto (GStrv) list = h2k_bcd_objects (object, element->type);
      H2kBcdDevice device = h2k_bcd_device (object, element->type);
      g_autofree char *shown = h2k_bcd_device_to_text (&device);
      guint64 number;

      g_assert_nonnull (shown);
      g_assert_true (!text || g_utf8_validate (text, -1, NULL));
      h2k_bcd_number (object, element->type, &number);
      for (guint j = 0; list && list[j]; j++)
        h2k_bcd_find (bcd, list[j]);
    }
  for (guint i = 0; i < G_N_ELEMENTS (booleans); i++)
    h2k_bcd_is_set (bcd, object, booleans[i]);
}

/* What is set reads back. */
static void
change (H2kHive *hive, const H2kBcd *bcd)
{
  const H2kBcdObject *object = bcd->objects->pdata[0];
  H2kBcdDevice device = {.kind = H2K_BCD_MBR, .signature = 1, .offset = 2};
  g_autoptr (H2kBcd) after = NULL;

  if (!h2k_bcd_set_device (hive, object, H2K_BCD_DEVICE, &device, NULL))
    return;
  after = h2k_bcd_read (hive, NULL);
  g_assert_nonnull (after);
}

static void
read_ini (const uint8_t *data, size_t size)
{
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (H2kBootIni) ini = h2k_boot_ini_parse (bytes);
  g_autoptr (GBytes) back = ini ? h2k_lines_to_bytes (ini->lines) : NULL;
  H2kArcPath arc;

  for (guint i = 0; ini && i < ini->entries->len; i++)
    h2k_arc_parse (((H2kBootIniEntry *)ini->entries->pdata[i])->path, &arc);
  g_assert_true (!back || g_bytes_equal (back, bytes));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kFs) fs = memory_fs_new ();
  GByteArray *file = memory_fs_file (fs, "/BCD");
  g_autoptr (H2kHive) hive = NULL;
  g_autoptr (H2kBcd) bcd = NULL;
  guint32 sum;

  read_ini (data, size);
  if (size < 512 || size > 1 << 18)
    return 0;
  g_byte_array_set_size (file, (guint)((size - 512 + 4095) / 4096 * 4096 + 4096));
  memset (file->data, 0, file->len);
  memcpy (file->data, data, 512);
  memcpy (file->data + 4096, data + 512, size - 512);
  sum = GUINT32_TO_LE (h2k_regf_checksum (file->data));
  memcpy (file->data + 508, &sum, 4);
  hive = h2k_hive_open (fs, "/BCD", TRUE, NULL, NULL);
  bcd = hive ? h2k_bcd_read (hive, NULL) : NULL;
  if (!bcd)
    return 0;
  for (guint i = 0; i < bcd->objects->len; i++)
    look (bcd, bcd->objects->pdata[i]);
  change (hive, bcd);
  return 0;
}

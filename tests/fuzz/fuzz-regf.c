/* fuzz-regf.c - any bytes as a registry hive that is read, edited, written and read back.
 *
 * The first 512 bytes are the base block's, to which the right checksum is given, unless the last
 * of them is 0xff; the others are bins, with zeros up to the next page.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../unit/registry/memory-fs.h"
#include "registry/regf.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Look at everything below KEY, as far as BUDGET goes. */
static void
look (H2kHive *hive, const char *key, guint depth, guint *budget)
{
  g_autoptr (GPtrArray) values = h2k_hive_list_values (hive, key);
  g_autoptr (GPtrArray) keys = h2k_hive_list_keys (hive, key);

  for (guint i = 0; i < values->len; i++)
    {
      H2kRegValue *value = values->pdata[i];
      g_autofree char *text = h2k_reg_value_to_text (value);
      g_autoptr (H2kRegValue) found = h2k_hive_get (hive, key, value->name);

      g_assert_true (g_utf8_validate (text, -1, NULL));
      g_assert_true (g_utf8_validate (value->name, -1, NULL));
      g_assert_nonnull (found);
    }
  for (guint i = 0; i<keys->len && * budget> 0 && depth < 20; i++)
    {
      g_autofree char *path = g_strconcat (key, *key ? "\\" : "", keys->pdata[i], NULL);

      --*budget;
      look (hive, path, depth + 1, budget);
    }
}

static void
edit (H2kHive *hive)
{
  g_autoptr (GPtrArray) keys = h2k_hive_list_keys (hive, "");
  g_autoptr (GPtrArray) values = h2k_hive_list_values (hive, "");
  g_autoptr (H2kRegValue) number = h2k_reg_dword ("number", 1);
  g_autoptr (H2kRegValue) text = h2k_reg_string ("", H2K_REG_SZ, "text");

  h2k_hive_set (hive, "", number, NULL);
  h2k_hive_set (hive, "new_key\\below", text, NULL);
  if (keys->len > 0)
    {
      g_autofree char *path = g_strconcat (keys->pdata[0], "\\Parameters", NULL);

      h2k_hive_set (hive, path, text, NULL);
      h2k_hive_remove_key (hive, keys->pdata[keys->len - 1], NULL);
    }
  if (values->len > 0)
    h2k_hive_remove_value (hive, "", ((H2kRegValue *)values->pdata[0])->name, NULL);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kFs) fs = memory_fs_new ();
  GByteArray *file = memory_fs_file (fs, "/HIVE");
  g_autoptr (H2kHive) hive = NULL, again = NULL;
  guint budget = 200;

  if (size < 512 || size > 1 << 20)
    return 0;
  g_byte_array_set_size (file, (guint)((size - 512 + 4095) / 4096 * 4096 + 4096));
  memset (file->data, 0, file->len);
  memcpy (file->data, data, 512);
  memcpy (file->data + 4096, data + 512, size - 512);
  if (data[511] != 0xff)
    {
      guint32 sum = GUINT32_TO_LE (h2k_regf_checksum (file->data));

      memcpy (file->data + 508, &sum, 4);
    }
  hive = h2k_hive_open (fs, "/HIVE", TRUE, NULL, NULL);
  if (!hive)
    return 0;
  look (hive, "", 0, &budget);
  edit (hive);
  budget = 200;
  look (hive, "", 0, &budget);
  if (!h2k_hive_is_changed (hive) || !h2k_hive_commit (hive, NULL))
    return 0;
  again = h2k_hive_open (fs, "/HIVE", FALSE, NULL, NULL);
  g_assert_nonnull (again);
  g_assert_false (h2k_hive_info (again)->was_dirty);
  g_assert_cmpuint (h2k_hive_info (again)->notes->len, <=, h2k_hive_info (hive)->notes->len);
  return 0;
}

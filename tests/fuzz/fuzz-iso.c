/* fuzz-iso.c - ISO images as a source of drivers: any bytes are survived, in bounded time, and what
 * comes out are files inside the image with names that are some.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/tree.h"

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

static void
check_node (H2kDriverTree *tree, const H2kDriverNode *node, gsize image_size, guint *budget)
{
  if (*budget == 0)
    return;
  --*budget;
  g_assert_true (g_utf8_validate (node->name, -1, NULL) && !strchr (node->name, '/'));
  if (!node->is_folder)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (GBytes) bytes = h2k_driver_tree_read (tree, node, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (g_bytes_get_size (bytes), <=, image_size);
      return;
    }
  for (guint i = 0; i < node->children->len; i++)
    check_node (tree, node->children->pdata[i], image_size, budget);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  g_autoptr (H2kFile) file = h2k_file_new_memory ("x.iso", data, size);
  g_autoptr (GError) error = NULL;
  H2kIso *iso = h2k_iso_open (file, &error);
  H2kDriverTree *tree = iso ? h2k_driver_tree_new_iso (iso, "x.iso", &error) : NULL;
  guint budget = 64;

  g_assert_true ((tree != NULL) != (error != NULL));
  if (!tree)
    return 0;
  check_node (tree, h2k_driver_tree_find (tree, NULL, ""), size, &budget);
  h2k_driver_tree_free (tree);
  return 0;
}

/* fuzz-tar.c - the input is a tar archive: its members are listed and each one's content is read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/tar.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kFile) archive = h2k_file_new_memory ("fuzz", data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) members = h2k_tar_list (archive, &error);

  g_assert ((members != NULL) == (error == NULL));
  for (guint i = 0; members && i < MIN (members->len, 64); i++)
    {
      g_autoptr (H2kFile) file = h2k_tar_open (archive, members->pdata[i]);
      g_autofree guint8 *content = g_malloc (MAX (file->size, 1));

      g_assert_true (h2k_file_pread (file, 0, file->size, content, NULL));
      g_assert_false (h2k_file_pread (file, 1, file->size, content, NULL));
    }
  return 0;
}

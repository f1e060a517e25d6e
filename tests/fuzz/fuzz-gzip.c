/* fuzz-gzip.c - the input is a gzip file: what it holds is read from front to back and in pieces
 * from elsewhere, which has to give the same.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/gzip.h"

#include <stdint.h>

#define MAX_READ (1024 * 1024)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kFile) packed = h2k_file_new_memory ("/fuzz.gz", data, size);
  g_autofree guint8 *whole = g_malloc (MAX_READ), *piece = g_malloc (MAX_READ);
  g_autoptr (H2kFile) file = NULL;
  gsize n;

  h2k_gzip_span = 1000;
  file = h2k_gzip_open (packed, NULL);
  if (!file)
    return 0;
  n = (gsize)MIN (file->size, MAX_READ);
  g_assert_true (h2k_file_pread (file, 0, n, whole, NULL));
  g_clear_pointer (&file, h2k_file_unref);
  file = h2k_gzip_open (packed, NULL);
  for (gsize at = n; at > 0;)
    {
      gsize length = MIN (at, 300001);
      at -= length;
      g_assert_true (h2k_file_pread (file, at, length, piece, NULL));
      g_assert_cmpmem (piece, length, whole + at, length);
    }
  return 0;
}

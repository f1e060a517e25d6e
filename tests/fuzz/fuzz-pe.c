/* fuzz-pe.c - PE images: any bytes are survived.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/pe.h"

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  g_autoptr (GError) error = NULL;
  H2kPe pe;
  gboolean good = h2k_pe_parse (data, size, "x.sys", &pe, &error);

  g_assert_true (good == (error == NULL));
  for (guint i = 0; good && !pe.has_version && i < 4; i++)
    g_assert_cmpuint (pe.file_version[i] | pe.product_version[i], ==, 0);
  return 0;
}

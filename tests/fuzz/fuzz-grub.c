/* fuzz-grub.c - bootloader files of every kind. What is renamed once is not renamed again, an
 * environment block keeps its size, and nothing but devices of parameters changes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/cmdline.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static char *
rename_device (const char *key, const char *spec, gpointer unused)
{
  g_assert (g_str_has_prefix (spec, "/dev/"));
  return g_str_has_prefix (spec, "/dev/sd") ? g_strdup ("UUID=0123-4567") : NULL;
}

static void
check_grubenv (GBytes *bytes)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) once = h2k_grubenv_rename (bytes, rename_device, NULL, &error);
  g_autoptr (GBytes) twice = once ? h2k_grubenv_rename (once, rename_device, NULL, NULL) : NULL;
  g_autofree char *saved = h2k_grubenv_get (bytes, "saved_entry");

  g_assert (!saved || strlen (saved) < g_bytes_get_size (bytes));
  if (!once)
    return;
  g_assert (g_bytes_get_size (once) == g_bytes_get_size (bytes));
  g_assert (twice && g_bytes_equal (once, twice));
}

static void
check_lines (GBytes *bytes, H2kLinesKind kind)
{
  g_autoptr (H2kLines) lines = h2k_lines_new (bytes);
  g_autoptr (GBytes) before = h2k_lines_to_bytes (lines);
  g_autoptr (GBytes) after = NULL;
  guint n = h2k_lines_count (lines), first, last;
  guint changes = h2k_lines_rename (lines, kind, 0, G_MAXUINT, rename_device, NULL);

  after = h2k_lines_to_bytes (lines);
  g_assert (changes > 0 || g_bytes_equal (before, after));
  g_assert (h2k_lines_count (lines) == n);
  g_assert (h2k_lines_rename (lines, kind, 0, G_MAXUINT, rename_device, NULL) == 0);
  if (kind == H2K_LINES_GRUB_CFG && h2k_grub_default_entry (lines, "saved>1", &first, &last))
    g_assert (first <= last && last < n);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (GBytes) bytes = NULL;

  /* The line model is for texts; what holds NUL bytes is refused before. */
  if (size == 0 || size > 64 * 1024)
    return 0;
  bytes = g_bytes_new (data, size);
  check_grubenv (bytes);
  if (memchr (data, 0, size))
    return 0;
  for (int kind = H2K_LINES_GRUB_CFG; kind <= H2K_LINES_ANY; kind++)
    check_lines (bytes, (H2kLinesKind)kind);
  return 0;
}

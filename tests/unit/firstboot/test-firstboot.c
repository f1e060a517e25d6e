/* test-firstboot.c - the program for Windows guests that the library holds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "firstboot/firstboot.h"
#include "util/util.h"

/* Offsets as the PE specification has them: in the COFF header behind "PE\0\0". */
typedef struct
{
  const char *arch;
  guint16 machine;
  guint16 magic;        /* of the optional header: PE32 or PE32+ */
  guint16 major, minor; /* of the subsystem: the oldest Windows that loads it */
} Expected;

static const Expected expected[] = {
    {"x86_64", 0x8664, 0x20b, 5, 2},
    {"i686", 0x14c, 0x10b, 5, 1},
    {"aarch64", 0xaa64, 0x20b, 6, 2},
};

static void
test_program_is_pe (gconstpointer data)
{
  const Expected *want = data;
  g_autoptr (GBytes) program = h2k_firstboot_program (want->arch);
  const guint8 *bytes, *coff, *optional;
  gsize size;
  guint32 at;

  if (program == NULL)
    {
      g_test_skip ("this build has no cross compiler for it");
      return;
    }
  bytes = g_bytes_get_data (program, &size);
  g_assert_cmpuint (size, >, 1024);
  g_assert_cmpmem (bytes, 2, "MZ", 2);
  at = h2k_le32 (bytes + 0x3c);
  g_assert_cmpuint (at, <, size - 512);
  g_assert_cmpmem (bytes + at, 4, "PE\0\0", 4);
  coff = bytes + at + 4;
  optional = coff + 20;
  g_assert_cmphex (h2k_le16 (coff), ==, want->machine);
  /* Executable, no DLL, and no time of its making. */
  g_assert_cmphex (h2k_le16 (coff + 18) & 0x2002, ==, 0x0002);
  g_assert_cmphex (h2k_le32 (coff + 4), ==, 0);
  g_assert_cmphex (h2k_le16 (optional), ==, want->magic);
  g_assert_cmpuint (h2k_le16 (optional + 48), ==, want->major);
  g_assert_cmpuint (h2k_le16 (optional + 50), ==, want->minor);
  /* A console program: services need no windows. */
  g_assert_cmpuint (h2k_le16 (optional + 68), ==, 3);
}

static void
test_unknown_architecture (void)
{
  g_assert_null (h2k_firstboot_program ("alpha"));
}

/* Every file of the folder, in the order in which the service runs them. */
static void
test_scripts_are_complete (void)
{
  const char *const *names = h2k_firstboot_scripts ();
  g_autofree char *folder
      = g_build_filename (g_test_get_dir (G_TEST_DIST), "..", "src", "firstboot", "scripts", NULL);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  guint n = g_strv_length ((char **)names), files = 0;

  g_assert_nonnull (dir);
  for (const char *name; (name = g_dir_read_name (dir)) != NULL; files++)
    g_assert_true (g_strv_contains (names, name));
  g_assert_cmpuint (n, ==, files);
  for (guint i = 1; i < n; i++)
    g_assert_cmpint (g_ascii_strcasecmp (names[i - 1], names[i]), <, 0);
}

static void
test_script_is_for_windows (void)
{
  for (const char *const *name = h2k_firstboot_scripts (); *name; name++)
    {
      g_autoptr (GBytes) script = h2k_firstboot_script (*name);
      gsize size;
      const char *text = g_bytes_get_data (script, &size);

      g_assert_cmpuint (size, >, 32);
      g_assert_cmpmem (text, 11, "@echo off\r\n", 11);
      for (gsize i = 0; i < size; i++)
        {
          g_assert_cmpint (text[i], >, 0); /* code pages agree on ASCII alone */
          g_assert_true (text[i] != '\n' || text[i - 1] == '\r');
          g_assert_true (text[i] != '\r' || (i + 1 < size && text[i + 1] == '\n'));
        }
    }
  g_assert_null (h2k_firstboot_script ("999-none.cmd"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (expected); i++)
    {
      g_autofree char *path
          = g_strdup_printf ("/firstboot/the program for %s is one for its machine",
                             expected[i].arch);

      g_test_add_data_func (path, &expected[i], test_program_is_pe);
    }
  g_test_add_func ("/firstboot/an unknown architecture has no program", test_unknown_architecture);
  g_test_add_func ("/firstboot/each standard script is offered, in order",
                   test_scripts_are_complete);
  g_test_add_func ("/firstboot/scripts are ASCII with the line ends of Windows",
                   test_script_is_for_windows);
  return g_test_run ();
}

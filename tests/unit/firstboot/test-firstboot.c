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
  return g_test_run ();
}

/* test-pe.c - programs and drivers of Windows say what they are for, and damaged ones are refused.
 *
 * The images are made by tests/windows/pe.py, by mingw's linker where it is installed, and by
 * whoever made the programs that come with Wine.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/pe.h"

#include <unistd.h>

static GBytes *
run_python (const char *code)
{
  g_autofree char *windows = g_test_build_filename (G_TEST_DIST, "windows", NULL);
  g_autofree char *script
      = g_strdup_printf ("import sys; sys.dont_write_bytecode = True; sys.path.insert(0, %s%s%s)\n"
                         "import pe\nout = %s\nsys.stdout.buffer.write(out)",
                         "'", windows, "'", code);
  const char *const argv[] = {"python3", "-c", script, NULL};
  g_autoptr (GError) error = NULL;
  g_autoptr (GSubprocess) python = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
  GBytes *out = NULL;

  g_assert_no_error (error);
  g_subprocess_communicate (python, NULL, NULL, &out, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_get_successful (python));
  return out;
}

static H2kPe
parse (GBytes *bytes)
{
  g_autoptr (GError) error = NULL;
  H2kPe pe;

  g_assert_true (h2k_pe_parse (g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes), "x.sys",
                               &pe, &error));
  g_assert_no_error (error);
  return pe;
}

static void
test_kinds (void)
{
  static const struct
  {
    const char *arch, *kind;
    guint16 machine;
    H2kWindowsArch known;
    gboolean is_driver;
  } cases[] = {
      {"x86", "driver", 0x14c, H2K_WINDOWS_X86, TRUE},
      {"amd64", "driver", 0x8664, H2K_WINDOWS_AMD64, TRUE},
      {"arm64", "driver", 0xaa64, H2K_WINDOWS_ARM64, TRUE},
      {"amd64", "kernel", 0x8664, H2K_WINDOWS_AMD64, TRUE},
      {"x86", "dll", 0x14c, H2K_WINDOWS_X86, FALSE},
      {"amd64", "exe", 0x8664, H2K_WINDOWS_AMD64, FALSE},
      {"arm64", "efi", 0xaa64, H2K_WINDOWS_ARM64, FALSE},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *code = g_strdup_printf ("pe.image('x', '%s', (10, 0, 20348, 2340), '%s')",
                                               cases[i].arch, cases[i].kind);
      g_autoptr (GBytes) bytes = run_python (code);
      H2kPe pe = parse (bytes);

      g_assert_cmphex (pe.machine, ==, cases[i].machine);
      g_assert_true (pe.has_arch);
      g_assert_true (pe.is_whole);
      g_assert_cmpint (pe.arch, ==, cases[i].known);
      g_assert_cmpint (pe.is_driver, ==, cases[i].is_driver);
      g_assert_true (pe.has_version);
      g_assert_cmpuint (pe.file_version[0], ==, 10);
      g_assert_cmpuint (pe.file_version[1], ==, 0);
      g_assert_cmpuint (pe.file_version[2], ==, 20348);
      g_assert_cmpuint (pe.file_version[3], ==, 2340);
      g_assert_cmpuint (pe.product_version[2], ==, 20348);
    }
}

static void
test_other_processors (void)
{
  g_autoptr (GBytes) bytes = run_python ("pe.image('x', 'arm', (10, 0, 1, 1))");
  H2kPe pe = parse (bytes);

  g_assert_cmphex (pe.machine, ==, 0x1c4);
  g_assert_false (pe.has_arch);
}

/* Changed bytes and cut ends: headers are read or refused, a version is right or not there. */
static void
test_damaged (void)
{
  g_autoptr (GBytes) bytes = run_python ("pe.image('x', 'amd64', (6, 1, 7601, 5))");
  gsize size = g_bytes_get_size (bytes);
  guint refused = 0;

  for (gsize i = 0; i < size; i++)
    {
      g_autofree guint8 *part = g_memdup2 (g_bytes_get_data (bytes, NULL), i);
      H2kPe pe;
      if (!h2k_pe_parse (part, i, "x.sys", &pe, NULL))
        refused++;
      else
        g_assert_cmphex (pe.machine, ==, 0x8664);
      g_assert_false (pe.is_whole);
      g_assert_true (!pe.has_version || pe.file_version[2] == 7601);
    }
  /* The end of the table of sections. */
  g_assert_cmpuint (refused, ==, 0x80 + 0x18 + 0xf0 + 2 * 40);
  for (gsize i = 0; i < size; i++)
    {
      g_autofree guint8 *copy = g_memdup2 (g_bytes_get_data (bytes, NULL), size);
      H2kPe pe;
      copy[i] ^= 0xff;
      h2k_pe_parse (copy, size, "x.sys", &pe, NULL);
    }
}

/* Signatures lie behind all sections, where the fifth directory says. */
static void
test_signed (void)
{
  static const char code[]
      = "(lambda b: b[:0x128] + __import__('struct').pack('<II', len(b), 64) + b[0x130:] + "
        "b'\\x40' * %u)(pe.image('x', 'amd64', (6, 1, 7601, 5)))";
  static const guint lengths[] = {64, 63, 0};

  for (gsize i = 0; i < G_N_ELEMENTS (lengths); i++)
    {
      g_autofree char *made = g_strdup_printf (code, lengths[i]);
      g_autoptr (GBytes) bytes = run_python (made);
      H2kPe pe = parse (bytes);

      g_assert_true (pe.has_version);
      g_assert_cmpint (pe.is_whole, ==, lengths[i] == 64);
    }
}

static void
test_refused (void)
{
  static const struct
  {
    const char *text;
    const char *says;
  } cases[] = {
      {"", "does not begin with \"MZ\""},
      {"#!/bin/sh\nexit 0\n# longer than the header that an image for DOS begins with..........",
       "MZ"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      H2kPe pe;
      g_assert_false (
          h2k_pe_parse (cases[i].text, strlen (cases[i].text), "a\x1b.sys", &pe, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
      g_assert_nonnull (strstr (error->message, cases[i].says));
      g_assert_true (g_str_has_prefix (error->message, "a\\x1b.sys: "));
    }
}

/* A program that a real linker and resource compiler made. */
static void
test_linked_by_mingw (void)
{
  g_autofree char *cc = g_find_program_in_path ("x86_64-w64-mingw32-gcc");
  g_autofree char *windres = g_find_program_in_path ("x86_64-w64-mingw32-windres");
  g_autofree char *dir = g_dir_make_tmp ("pe-XXXXXX", NULL);
  g_autofree char *rc = g_build_filename (dir, "x.rc", NULL);
  g_autofree char *exe = g_build_filename (dir, "x.exe", NULL);
  g_autofree char *text = NULL;
  g_autoptr (GBytes) bytes = NULL;
  gsize size;
  H2kPe pe;

  if (!cc || !windres)
    {
      g_test_skip ("mingw-w64 is not installed");
      return;
    }
  g_file_set_contents (
      rc,
      "1 ICON \"x.c\"\n1 VERSIONINFO\nFILEVERSION 1,2,3,65535\nPRODUCTVERSION "
      "4,5,6,7\nBEGIN\nBLOCK \"StringFileInfo\"\nBEGIN\nBLOCK \"040904B0\"\nBEGIN\n"
      "VALUE \"ProductName\", \"x\"\nEND\nEND\nEND\n",
      -1, NULL);
  /* An icon's header without icons. */
  text = g_strdup_printf ("cd %s && printf '\\0\\0\\1\\0\\0\\0' >x.c && %s x.rc x.o && "
                          "echo 'int main (void) { return 0; }' >x.c && %s -s -o x.exe x.c x.o",
                          dir, windres, cc);
  g_assert_cmpint (system (text), ==, 0);
  g_clear_pointer (&text, g_free);
  g_assert_true (g_file_get_contents (exe, &text, &size, NULL));
  bytes = g_bytes_new (text, size);
  pe = parse (bytes);
  g_assert_cmphex (pe.machine, ==, 0x8664);
  g_assert_false (pe.is_driver);
  g_assert_true (pe.is_whole);
  g_assert_true (pe.has_version);
  g_assert_cmpuint (pe.file_version[0], ==, 1);
  g_assert_cmpuint (pe.file_version[3], ==, 65535);
  g_assert_cmpuint (pe.product_version[1], ==, 5);
}

/* Drivers of Wine's are PE images with the subsystem of drivers. */
static void
test_wine (void)
{
  static const struct
  {
    const char *path;
    H2kWindowsArch arch;
    gboolean is_driver;
  } cases[] = {
      {"/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/ndis.sys", H2K_WINDOWS_AMD64, TRUE},
      {"/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/ntoskrnl.exe", H2K_WINDOWS_AMD64, FALSE},
      {"/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/kernel32.dll", H2K_WINDOWS_AMD64, FALSE},
  };
  guint n = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *text = NULL;
      g_autoptr (GBytes) bytes = NULL;
      gsize size;
      H2kPe pe;
      if (!g_file_get_contents (cases[i].path, &text, &size, NULL))
        continue;
      bytes = g_bytes_new (text, size);
      pe = parse (bytes);
      g_test_message ("%s: driver %d, version %d: %u.%u.%u.%u", cases[i].path, pe.is_driver,
                      pe.has_version, pe.file_version[0], pe.file_version[1], pe.file_version[2],
                      pe.file_version[3]);
      g_assert_cmpint (pe.arch, ==, cases[i].arch);
      g_assert_cmpint (pe.is_driver, ==, cases[i].is_driver);
      g_assert_true (pe.is_whole);
      n++;
    }
  if (n == 0)
    g_test_skip ("Wine is not installed");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/pe/processor, kind and version", test_kinds);
  g_test_add_func ("/pe/other processors have a number", test_other_processors);
  g_test_add_func ("/pe/damaged images", test_damaged);
  g_test_add_func ("/pe/a signature that is cut off", test_signed);
  g_test_add_func ("/pe/what is no image is refused", test_refused);
  g_test_add_func ("/pe/an image that mingw linked", test_linked_by_mingw);
  g_test_add_func ("/pe/drivers of Wine", test_wine);
  return g_test_run ();
}

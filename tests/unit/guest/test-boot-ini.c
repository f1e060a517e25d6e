/* test-boot-ini.c - boot.ini of Windows before Vista, and the paths in it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/boot-ini.h"

static H2kBootIni *
parse (const char *text)
{
  g_autoptr (GBytes) data = g_bytes_new (text, strlen (text));

  return h2k_boot_ini_parse (data);
}

static void
test_usual (void)
{
  static const char text[] = "[boot loader]\r\ntimeout=30\r\n"
                             "default = multi(0)disk(0)rdisk(0)partition(2)\\WINDOWS \r\n"
                             "; a comment\r\n[Operating Systems]\r\n"
                             "multi(0)disk(0)rdisk(0)partition(2)\\WINDOWS=\"Windows = XP\" "
                             "/noexecute=optin /fastdetect\r\n"
                             "C:\\CMDCONS\\BOOTSECT.DAT=\"Recovery Console\" /cmdcons\r\n";
  g_autoptr (H2kBootIni) ini = parse (text);
  g_autoptr (GBytes) back = NULL;
  const H2kBootIniEntry *entry;

  g_assert_nonnull (ini);
  g_assert_cmpint (ini->timeout, ==, 30);
  g_assert_cmpstr (ini->default_path, ==, "multi(0)disk(0)rdisk(0)partition(2)\\WINDOWS");
  g_assert_cmpint (ini->default_line, ==, 2);
  g_assert_cmpuint (ini->entries->len, ==, 2);
  entry = ini->entries->pdata[0];
  g_assert_cmpstr (entry->path, ==, ini->default_path);
  g_assert_cmpstr (entry->title, ==, "Windows = XP");
  g_assert_cmpstr (entry->options, ==, "/noexecute=optin /fastdetect");
  g_assert_cmpuint (entry->line, ==, 5);
  entry = ini->entries->pdata[1];
  g_assert_cmpstr (entry->path, ==, "C:\\CMDCONS\\BOOTSECT.DAT");
  back = h2k_lines_to_bytes (ini->lines);
  g_assert_cmpmem (text, strlen (text), g_bytes_get_data (back, NULL), g_bytes_get_size (back));
}

static void
test_bad (void)
{
  g_autoptr (GBytes) nuls = g_bytes_new_static ("[operating systems]\na=b\0", 24);

  g_assert_null (parse (""));
  g_assert_null (parse ("[boot loader]\ndefault=x\n"));
  g_assert_null (parse ("[operating systems]\nno entry\n"));
  g_assert_null (h2k_boot_ini_parse (nuls));
}

static void
test_odd (void)
{
  g_autoptr (H2kBootIni) ini = parse ("[operating systems]\na=\"no end /x\n=\nb=c /d");

  g_assert_nonnull (ini);
  g_assert_null (ini->default_path);
  g_assert_cmpint (ini->timeout, ==, -1);
  g_assert_cmpuint (ini->entries->len, ==, 3);
  g_assert_cmpstr (((H2kBootIniEntry *)ini->entries->pdata[2])->title, ==, "c");
  g_assert_cmpstr (((H2kBootIniEntry *)ini->entries->pdata[2])->options, ==, "/d");
}

static void
test_arc (void)
{
  static const char *const bad[] = {
      "",
      "C:\\",
      "multi(0)disk(0)rdisk(0)partition(1)",
      "multi(0)disk(0)partition(1)\\W",
      "multi(-1)disk(0)rdisk(0)partition(1)\\W",
      "multi(0disk(0)rdisk(0)partition(1)\\W",
      "multi(0)disk(0)rdisk(0)partition(99999999999)\\W",
      "multi(0)disk(0)rdisk(0)partition(0x1)\\W",
  };
  H2kArcPath arc;

  g_assert_true (h2k_arc_parse ("multi(0)disk(0)rdisk(1)partition(3)\\WINNT", &arc));
  g_assert_cmpint (arc.kind, ==, H2K_ARC_MULTI);
  g_assert_cmpuint (arc.disk, ==, 1);
  g_assert_cmpuint (arc.partition, ==, 3);
  g_assert_cmpstr (arc.dir, ==, "\\WINNT");
  g_assert_true (h2k_arc_parse ("Signature(1a2b3c4d)disk(0)rdisk(0)partition(1)\\W", &arc));
  g_assert_cmpint (arc.kind, ==, H2K_ARC_SIGNATURE);
  g_assert_cmphex (arc.signature, ==, 0x1a2b3c4d);
  g_assert_true (h2k_arc_parse ("scsi(0)disk(1)rdisk(0)partition(1)\\W", &arc));
  g_assert_cmpint (arc.kind, ==, H2K_ARC_SCSI);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_false (h2k_arc_parse (bad[i], &arc));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/boot-ini/default, timeout and systems are read, and every byte is kept",
                   test_usual);
  g_test_add_func ("/boot-ini/what has no systems is none", test_bad);
  g_test_add_func ("/boot-ini/lines without quotes, ends and defaults are read", test_odd);
  g_test_add_func ("/boot-ini/ARC paths are parsed, and nothing else is", test_arc);
  return g_test_run ();
}

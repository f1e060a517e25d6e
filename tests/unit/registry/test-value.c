/* test-value.c - values of the registry.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/hive.h"

static void
assert_text (H2kRegValue *value, const char *expected)
{
  g_autofree char *text = h2k_reg_value_to_text (value);

  g_assert_cmpstr (text, ==, expected);
  h2k_reg_value_free (value);
}

static void
assert_data (H2kRegValue *value, gconstpointer data, gsize length)
{
  gsize size;
  gconstpointer have = g_bytes_get_data (value->data, &size);

  g_assert_cmpmem (have, size, data, length);
}

static void
test_texts (void)
{
  static const guint8 hi[] = {'h', 0, 0xe9, 0, 0, 0};
  static const guint8 list[] = {'a', 0, 0, 0, 0x3d, 0xd8, 0x00, 0xde, 0, 0, 0, 0};
  const char *const texts[] = {"a", "", "\360\237\230\200", NULL};
  g_autoptr (H2kRegValue) value = h2k_reg_string ("n", H2K_REG_EXPAND_SZ, "h\303\251");
  g_autoptr (H2kRegValue) multi = h2k_reg_strings ("m", texts);
  g_autofree char *text = h2k_reg_value_string (value);
  g_auto (GStrv) back = h2k_reg_value_strings (multi);

  assert_data (value, hi, sizeof hi);
  g_assert_cmpstr (text, ==, "h\303\251");
  assert_data (multi, list, sizeof list);
  g_assert_cmpuint (g_strv_length (back), ==, 2);
  g_assert_cmpstr (back[1], ==, "\360\237\230\200");
}

static void
test_odd_texts (void)
{
  static const guint8 bytes[] = {'a', 0, 0x00, 0xd8, 'b', 0, 'c'};
  g_autoptr (H2kRegValue) open = h2k_reg_new ("", H2K_REG_SZ, bytes, sizeof bytes);
  g_autoptr (H2kRegValue) empty = h2k_reg_new ("", H2K_REG_SZ, NULL, 0);
  g_autoptr (H2kRegValue) list = h2k_reg_new ("", H2K_REG_MULTI_SZ, bytes, 2);
  g_autoptr (H2kRegValue) number = h2k_reg_dword ("", 1);
  g_autofree char *text = h2k_reg_value_string (open);
  g_autofree char *nothing = h2k_reg_value_string (empty);
  g_auto (GStrv) texts = h2k_reg_value_strings (list);

  g_assert_cmpstr (text, ==, "a\357\277\275b");
  g_assert_cmpstr (nothing, ==, "");
  g_assert_cmpuint (g_strv_length (texts), ==, 1);
  g_assert_cmpstr (texts[0], ==, "a");
  g_assert_null (h2k_reg_value_string (number));
  g_assert_null (h2k_reg_value_strings (open));
}

static void
test_numbers (void)
{
  g_autoptr (H2kRegValue) dword = h2k_reg_dword ("", 0x12345678);
  g_autoptr (H2kRegValue) qword = h2k_reg_qword ("", G_GUINT64_CONSTANT (0x123456789abcdef0));
  g_autoptr (H2kRegValue) torn = h2k_reg_new ("", H2K_REG_DWORD, "abc", 3);
  guint32 d = 0;
  guint64 q = 0;

  g_assert_true (h2k_reg_value_dword (dword, &d) && d == 0x12345678);
  g_assert_true (h2k_reg_value_qword (qword, &q) && q == G_GUINT64_CONSTANT (0x123456789abcdef0));
  g_assert_false (h2k_reg_value_dword (qword, &d));
  g_assert_false (h2k_reg_value_dword (torn, &d));
  g_assert_false (h2k_reg_value_qword (dword, &q));
  g_assert_false (h2k_reg_value_dword (NULL, &d));
}

static void
test_shown (void)
{
  const char *const two[] = {"a", "b\033", NULL}, *const none[] = {NULL};
  static const guint8 nuls[] = {'a', 0, 0, 0, 'b', 0, 0, 0};
  g_autofree char *long_text = g_strnfill (300, 'x');
  g_autoptr (H2kRegValue) big = h2k_reg_binary ("", long_text, 300);
  g_autofree char *big_shown = h2k_reg_value_to_text (big);

  assert_text (NULL, "(none)");
  assert_text (h2k_reg_dword ("", 3), "dword:0x00000003");
  assert_text (h2k_reg_qword ("", 3), "qword:0x0000000000000003");
  assert_text (h2k_reg_string ("", H2K_REG_SZ, "a\nb"), "\"a\\x0ab\"");
  assert_text (h2k_reg_string ("", H2K_REG_EXPAND_SZ, "%a%"), "expand:\"%a%\"");
  assert_text (h2k_reg_strings ("", two), "\"a\", \"b\\x1b\"");
  assert_text (h2k_reg_strings ("", none), "(no strings)");
  assert_text (h2k_reg_none (""), "hex(0):");
  assert_text (h2k_reg_binary ("", "\1\377", 2), "hex:01,ff");
  assert_text (h2k_reg_new ("", 0xffff0012, "a", 1), "hex(ffff0012):61");
  assert_text (h2k_reg_new ("", H2K_REG_SZ, nuls, sizeof nuls), "hex(1):61,00,00,00,62,00,00,00");
  g_assert_true (g_str_has_suffix (big_shown, ",... (300 bytes)"));
  g_assert_cmpuint (strlen (big_shown), <, 240);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/registry/value/texts are UTF-16LE with NULs at the end, and come back",
                   test_texts);
  g_test_add_func ("/registry/value/texts without an end and with half characters are read",
                   test_odd_texts);
  g_test_add_func ("/registry/value/numbers have their type and length", test_numbers);
  g_test_add_func ("/registry/value/what is shown is escaped and short", test_shown);
  return g_test_run ();
}

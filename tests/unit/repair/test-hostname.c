/* test-hostname.c - which names hosts may have, and where /etc/hosts has them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/hostname.h"

#define LABEL_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct
{
  const char *name, *made; /* MADE NULL: the name is valid */
} names[] = {
    {"web", NULL},
    {"Web-1", NULL},
    {"web.example.com", NULL},
    {"7seas", NULL},
    {LABEL_63, NULL},
    {"", "clone"},
    {"-", "clone"},
    {"..", "clone"},
    {"localhost", "clone"},
    {"web_1", "web-1"},
    {"_web__1_", "web-1"},
    {"web.", "web"},
    {".web", "web"},
    {"a..b", "a-b"},
    {"-web", "web"},
    {"web-", "web"},
    {"a-.b", "a-b"},
    {"192.0.2.1", "192-0-2-1"},
    {"b\xc3\xbcro", "b-ro"},
    {"a b;reboot\n", "a-b-reboot"},
    {LABEL_63 "a", LABEL_63},
    {LABEL_63 ".a", "" /* too long as a whole */},
};

static void
test_names (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *made = h2k_hostname_make (names[i].name);

      g_test_message ("\"%s\" becomes \"%s\"", names[i].name, made);
      g_assert_cmpint (h2k_hostname_problem (names[i].name) == NULL, ==, names[i].made == NULL);
      g_assert_null (h2k_hostname_problem (made));
      if (!names[i].made)
        g_assert_cmpstr (made, ==, names[i].name);
      else if (*names[i].made)
        g_assert_cmpstr (made, ==, names[i].made);
    }
}

static const struct
{
  const char *name, *old, *new, *before, *after; /* AFTER NULL: nothing names the host */
} hosts[] = {
    {"debian", "old", "new", "127.0.0.1\tlocalhost\n127.0.1.1\told\n",
     "127.0.0.1\tlocalhost\n127.0.1.1\tnew\n"},
    {"domain-is-kept", "old", "new", "127.0.1.1 old.example.com old # old\n",
     "127.0.1.1 new.example.com new # old\n"},
    {"whole-name", "old.example.com", "new", "192.0.2.1  old.example.com  old\n",
     "192.0.2.1  new.example.com  new\n"},
    {"another-domain", "old", "new.example.org", "127.0.1.1 old.example.com old\n",
     "127.0.1.1 new.example.org new\n"},
    {"loopback-without-alias", "old", "new", "127.0.1.1 old.example.com\n",
     "127.0.1.1 new.example.com\n"},
    {"case", "Old", "new", "192.0.2.1 OLD\r\n", "192.0.2.1 new\r\n"},
    {"words-that-only-look-so", "old", "new",
     "127.0.1.1 older old-1 my-old\n192.0.2.7 old.mirror.example\n# 127.0.1.1 old\n", NULL},
    {"an-address-is-no-name", "10", "new", "10 other\n", NULL},
    {"other-hosts-stay", "old", "new", "192.0.2.1 old\n192.0.2.2 db older\n",
     "192.0.2.1 new\n192.0.2.2 db older\n"},
    {"without-line-end", "old", "new", "::1 old", "::1 new"},
    {"empty", "old", "new", "", NULL},
};

static void
test_hosts (gconstpointer data)
{
  guint i = GPOINTER_TO_UINT (data);
  g_autoptr (GBytes) before = g_bytes_new (hosts[i].before, strlen (hosts[i].before));
  g_autoptr (H2kLines) lines = h2k_lines_new (before);
  gboolean found = h2k_hostname_replace_in_hosts (lines, hosts[i].old, hosts[i].new);
  g_autoptr (GBytes) after = h2k_lines_to_bytes (lines);
  g_autofree char *text = g_strndup (g_bytes_get_data (after, NULL), g_bytes_get_size (after));

  g_assert_cmpint (found, ==, hosts[i].after != NULL);
  g_assert_cmpstr (text, ==, hosts[i].after ? hosts[i].after : hosts[i].before);
}

static void
test_words (void)
{
  g_assert_true (h2k_hostname_in_text ("myhostname = old.example.com", "old"));
  g_assert_true (h2k_hostname_in_text ("OLD", "old"));
  g_assert_true (h2k_hostname_in_text ("bold,old", "old"));
  g_assert_false (h2k_hostname_in_text ("threshold older old-1", "old"));
  g_assert_false (h2k_hostname_in_text ("", "old"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/hostname/valid-names-stay-and-others-become-valid", test_names);
  g_test_add_func ("/hostname/whole-words-count", test_words);
  for (guint i = 0; i < G_N_ELEMENTS (hosts); i++)
    {
      g_autofree char *name = g_strconcat ("/hostname/hosts/", hosts[i].name, NULL);
      g_test_add_data_func (name, GUINT_TO_POINTER (i), test_hosts);
    }
  return g_test_run ();
}

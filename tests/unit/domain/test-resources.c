/* test-resources.c - memory and CPUs for a VM, from a database made for the test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/resources.h"

static char *database;

static void
put (const char *name, const char *resources)
{
  g_autofree char *path = g_build_filename (database, name, NULL);
  g_autofree char *dir = g_path_get_dirname (path);
  g_autofree char *text = g_strdup_printf ("<libosinfo><os id='x'>%s</os></libosinfo>", resources);

  g_assert_cmpint (g_mkdir_with_parents (dir, 0755), ==, 0);
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static gboolean
ask (const char *id, const char *arch, H2kResources *resources)
{
  return h2k_resources_of_os (database, id, arch, resources);
}

static void
test_read (void)
{
  g_auto (H2kResources) needs = {0};

  put ("debian.org/debian-12.xml",
       "<resources arch='all'><minimum><n-cpus>1</n-cpus><ram>536870912</ram></minimum>"
       "<recommended><ram>1073741824</ram></recommended></resources>"
       "<resources arch='i686'><recommended><ram>805306368</ram></recommended></resources>");
  g_assert_true (ask ("http://debian.org/debian/12", "x86_64", &needs));
  g_assert_cmpuint (needs.minimum_mib, ==, 512);
  g_assert_cmpuint (needs.recommended_mib, ==, 1024);
  g_assert_cmpuint (needs.minimum_cpus, ==, 1);
  g_assert_cmpuint (needs.recommended_cpus, ==, 0);
  g_assert_cmpstr (needs.source, ==, "libosinfo, of debian.org/debian/12");
}

static void
test_architecture (void)
{
  g_auto (H2kResources) needs = {0};

  g_assert_true (ask ("http://debian.org/debian/12", "i686", &needs));
  g_assert_cmpuint (needs.minimum_mib, ==, 512);
  g_assert_cmpuint (needs.recommended_mib, ==, 768);
}

/* A release that is newer than the database. */
static void
test_newer (void)
{
  g_auto (H2kResources) needs = {0};

  put ("debian.org/debian-9.xml", "");
  put ("debian.org/debian-testing.xml", "");
  g_assert_true (ask ("http://debian.org/debian/14", "x86_64", &needs));
  g_assert_cmpstr (needs.source, ==, "libosinfo, of debian.org/debian/12");
}

static void
test_inherited (void)
{
  g_auto (H2kResources) needs = {0}, circle = {0};

  put ("centos.org/centos-8.xml", "<derives-from id='http://debian.org/debian/12'/>"
                                  "<resources arch='all' inherit='true'/>");
  g_assert_true (ask ("http://centos.org/centos/8", "x86_64", &needs));
  g_assert_cmpuint (needs.recommended_mib, ==, 1024);
  put ("a.org/a-1.xml",
       "<derives-from id='http://a.org/a/1'/><resources arch='all' inherit='true'/>");
  g_assert_false (ask ("http://a.org/a/1", "x86_64", &circle));
}

static void
test_nothing (void)
{
  static const char *const ids[] = {NULL,
                                    "",
                                    "x",
                                    "http://",
                                    "http://a",
                                    "http://../../../etc/1",
                                    "http://unknown.org/unknown/1",
                                    "http://debian.org/debian/0"};

  for (gsize i = 0; i < G_N_ELEMENTS (ids); i++)
    {
      g_auto (H2kResources) needs = {0};
      g_assert_false (ask (ids[i], "x86_64", &needs));
    }
}

static void
test_choice (void)
{
  static const struct
  {
    H2kResources needs;
    guint64 host_mib;
    guint host_cpus, max_vcpus, memory_mib, vcpus;
  } cases[] = {
      {{1024, 4096, 1, 4}, 65536, 16, 0, 4096, 4}, /* as recommended */
      {{1024, 4096, 1, 4}, 4096, 2, 0, 2048, 2},   /* half of the host, all of its CPUs */
      {{3072, 4096, 1, 4}, 4096, 2, 0, 3072, 2},   /* not less than the minimum */
      {{1024, 4096, 1, 4}, 65536, 16, 1, 4096, 1}, /* what the guest can use */
      {{0, 0, 0, 0}, 65536, 16, 0, 2048, 2},       /* nothing is known */
      {{8192, 0, 4, 0}, 65536, 16, 0, 8192, 4},    /* only the minimum is */
      {{8192, 1024, 0, 0}, 65536, 1, 0, 8192, 1},  /* they contradict each other */
      {{0, 0, 0, 0}, 0, 0, 0, 2048, 2},            /* nor is the host */
      {{0, 0, 0, 0}, 1, 1, 0, 1, 1},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      H2kSizing sizing;
      g_test_message ("case %u", (guint)i);
      h2k_sizing_choose (&cases[i].needs, cases[i].host_mib, cases[i].host_cpus, cases[i].max_vcpus,
                         &sizing);
      g_assert_cmpuint (sizing.memory_mib, ==, cases[i].memory_mib);
      g_assert_cmpuint (sizing.vcpus, ==, cases[i].vcpus);
      g_assert_true (*sizing.why_memory && *sizing.why_vcpus);
      h2k_sizing_clear (&sizing);
    }
}

int
main (int argc, char **argv)
{
  int code;

  g_test_init (&argc, &argv, NULL);
  database = g_dir_make_tmp ("osinfo-XXXXXX", NULL);
  g_test_add_func ("/resources/libosinfo's numbers are read", test_read);
  g_test_add_func ("/resources/those of the architecture come first", test_architecture);
  g_test_add_func ("/resources/of a newer release, those of the one before", test_newer);
  g_test_add_func ("/resources/a system may need what another one needs", test_inherited);
  g_test_add_func ("/resources/what is unknown has none", test_nothing);
  g_test_add_func ("/resources/the choice fits host and guest", test_choice);
  code = g_test_run ();
  g_free (database);
  return code;
}

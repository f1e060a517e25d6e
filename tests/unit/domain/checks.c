/* checks.c - what the tests of definitions have in common.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "checks.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>

char *
check_xpath (const char *xml, const char *expression)
{
  xmlDoc *doc = xmlReadMemory (xml, (int)strlen (xml), "domain.xml", NULL, XML_PARSE_NONET);
  xmlXPathContext *context;
  xmlXPathObject *object;
  xmlChar *value;
  char *result;

  g_assert_nonnull (doc);
  context = xmlXPathNewContext (doc);
  xmlXPathRegisterNs (context, BAD_CAST "o",
                      BAD_CAST "http://libosinfo.org/xmlns/libvirt/domain/1.0");
  object = xmlXPathEvalExpression (BAD_CAST expression, context);
  g_assert_nonnull (object);
  value = xmlXPathCastToString (object);
  result = g_strdup ((const char *)value);
  xmlFree (value);
  xmlXPathFreeObject (object);
  xmlXPathFreeContext (context);
  xmlFreeDoc (doc);
  return result;
}

void
check_assert_xpath (const char *xml, const char *expression, const char *expected)
{
  g_autofree char *value = check_xpath (xml, expression);

  if (strcmp (value, expected) != 0)
    g_error ("%s is \"%s\", not \"%s\", in:\n%s", expression, value, expected, xml);
}

gboolean
check_schema (const char *dir, const char *xml, char **message)
{
  g_autofree char *path = g_build_filename (dir, "domain.xml", NULL);
  g_autoptr (GSubprocess) process = NULL;
  g_autoptr (GError) error = NULL;

  g_file_set_contents (path, xml, -1, &error);
  g_assert_no_error (error);
  process = g_subprocess_new (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE,
                              &error, "virt-xml-validate", path, "domain", NULL);
  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, NULL, NULL, message, NULL, &error);
  g_assert_no_error (error);
  return g_subprocess_get_successful (process);
}

gboolean
check_have_schema (void)
{
  g_autofree char *program = g_find_program_in_path ("virt-xml-validate");

  if (program == NULL)
    g_test_skip ("virt-xml-validate (package libvirt-clients) is not installed");
  return program != NULL;
}

char *
check_run (const char *const *argv, const char *input, guint seconds)
{
  g_autoptr (GPtrArray) args = g_ptr_array_new ();
  g_autofree char *limit = g_strdup_printf ("%u", seconds);
  g_autofree char *output = NULL;
  g_autoptr (GSubprocess) process = NULL;
  g_autoptr (GError) error = NULL;

  g_ptr_array_add (args, "timeout");
  g_ptr_array_add (args, limit);
  for (; *argv != NULL; argv++)
    g_ptr_array_add (args, (gpointer)*argv);
  g_ptr_array_add (args, NULL);
  process = g_subprocess_newv ((const char *const *)args->pdata,
                               G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE
                                   | G_SUBPROCESS_FLAGS_STDERR_MERGE,
                               &error);
  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, input, NULL, &output, NULL, &error);
  g_assert_no_error (error);
  return g_subprocess_get_successful (process) ? NULL : g_steal_pointer (&output);
}

GHashTable *
check_osinfo_db (void)
{
  GHashTable *ids = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GRegex) regex = g_regex_new ("<os id=\"([^\"]+)\"", 0, 0, NULL);
  g_autoptr (GDir) top = g_dir_open (CHECK_OSINFO, 0, NULL);
  const char *vendor, *name;

  while (top != NULL && (vendor = g_dir_read_name (top)) != NULL)
    {
      g_autofree char *path = g_build_filename (CHECK_OSINFO, vendor, NULL);
      g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);

      while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
        {
          g_autofree char *file = g_build_filename (path, name, NULL);
          g_autofree char *xml = NULL;
          g_autoptr (GMatchInfo) match = NULL;

          if (g_file_get_contents (file, &xml, NULL, NULL) && g_regex_match (regex, xml, 0, &match))
            g_hash_table_add (ids, g_match_info_fetch (match, 1));
        }
    }
  return ids;
}

/* output-options.c - the table of writers, and the options that each of them takes.
 *
 * Keys and values are those of `qemu-img convert -o`.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/internal.h"

static const H2kWriterOps *const writers[] = {
    &h2k_qcow2_writer, &h2k_raw_writer, &h2k_vmdk_writer, &h2k_vhdx_writer, &h2k_vhd_writer,
};

const H2kOptionWord h2k_option_off[] = {{"off", 0}, {NULL, 0}};

const H2kWriterOps *
h2k_writer_find (const char *format, GError **error)
{
  g_autoptr (GString) known = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (writers); i++)
    {
      if (g_strcmp0 (format, writers[i]->format) == 0
          || (writers[i]->alias && g_strcmp0 (format, writers[i]->alias) == 0))
        return writers[i];
      g_string_append_printf (known, "%s%s",
                              i == 0                            ? ""
                              : i + 1 == G_N_ELEMENTS (writers) ? " and "
                                                                : ", ",
                              writers[i]->format);
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "unknown output format \"%s\"; %s are known",
               format ? format : "", known->str);
  return NULL;
}

/* A number of bytes, with K, M or G behind it for binary units. */
static gboolean
parse_size (const char *text, guint32 *value)
{
  static const char units[] = "KMG";
  char *end;
  guint64 n = g_ascii_strtoull (text, &end, 10);
  const char *unit = *end ? strchr (units, g_ascii_toupper (*end)) : NULL;
  guint shift = unit ? 10 * (guint)(unit - units + 1) : 0;

  if (!g_ascii_isdigit (*text) || end[unit != NULL] || n == 0 || n > G_MAXUINT32 >> shift)
    return FALSE;
  *value = (guint32)n << shift;
  return TRUE;
}

static gboolean
parse_word (const H2kOptionWord *words, const char *text, guint32 *value)
{
  for (; words->word; words++)
    if (g_str_equal (words->word, text))
      {
        *value = words->value;
        return TRUE;
      }
  return FALSE;
}

static void
set_bad_value (const H2kFormatOption *option, const char *value, GError **error)
{
  g_autoptr (GString) words = g_string_new (NULL);

  for (const H2kOptionWord *w = option->words; w && w->word; w++)
    g_string_append_printf (words, "%s%s",
                            w == option->words ? ""
                            : w[1].word        ? ", "
                                               : " or ",
                            w->word);
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "-o %s=%s: choose %s", option->name, value,
               option->words ? words->str
                             : "a number of bytes, with K, M or G behind it if you like");
}

static gboolean
parse_one (const H2kWriterOps *writer, const char *text, H2kOutputOptions *options, GError **error)
{
  g_autoptr (GString) known = g_string_new (NULL);
  const char *equals = strchr (text, '=');
  gsize length = equals ? (gsize)(equals - text) : strlen (text);

  for (const H2kFormatOption *o = writer->options; o->name; o++)
    {
      guint32 *field = (guint32 *)(void *)((guint8 *)options + o->field);

      g_string_append_printf (known, "%s%s", known->len ? ", " : "", o->name);
      if (strlen (o->name) != length || strncmp (o->name, text, length) != 0)
        continue;
      if (equals
          && (o->words ? parse_word (o->words, equals + 1, field) : parse_size (equals + 1, field)))
        return TRUE;
      set_bad_value (o, equals ? equals + 1 : "", error);
      return FALSE;
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "%s has no option \"%.*s\"; -o takes %s",
               writer->format, (int)length, text, known->str);
  return FALSE;
}

gboolean
h2k_output_options_parse (const char *text, H2kOutputOptions *options, GError **error)
{
  const H2kWriterOps *writer = h2k_writer_find (options->format, error);
  g_auto (GStrv) parts = g_strsplit (text ? text : "", ",", -1);

  if (!writer)
    return FALSE;
  for (guint i = 0; parts[i]; i++)
    if (*parts[i] && !parse_one (writer, parts[i], options, error))
      return FALSE;
  return TRUE;
}

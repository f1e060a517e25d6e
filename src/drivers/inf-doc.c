/* inf-doc.c - an INF file as sections, lines and fields, after "General Syntax Rules for INF Files"
 * and "INF Strings Section" of Microsoft's driver documentation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf-private.h"

#include <stdarg.h>

/* Far more than any driver's INF has; what is made of hostile ones stays below some tens of MiB. */
#define MAX_FIELDS (1u << 18)
#define MAX_ITEMS (1u << 16)
#define MAX_EXPANDED (8u << 20)
#define MAX_LOOKED_AT (16u << 20)
/* Of a field, in characters, before and after the expansion of string keys: as documented. */
#define MAX_FIELD 4096

/* --- errors ----------------------------------------------------------------------------------- */

void
h2k_inf_fail (InfDoc *doc, guint line, H2kError code, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  if (doc->error)
    return;
  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  if (line > 0)
    g_set_error (&doc->error, H2K_ERROR, code, "%s: line %u: %s", doc->name, line, what);
  else
    g_set_error (&doc->error, H2K_ERROR, code, "%s: %s", doc->name, what);
}

void
h2k_inf_warn (InfDoc *doc, guint line, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  if (h2k_inf_charge (doc, line))
    g_ptr_array_add (doc->warnings, g_strdup_printf ("%s: line %u: %s", doc->name, line, what));
}

gboolean
h2k_inf_charge (InfDoc *doc, guint line)
{
  if (++doc->n_items > MAX_ITEMS)
    h2k_inf_fail (doc, line, H2K_ERROR_FORMAT,
                  "the file asks for more than %u things: no driver needs that, it is damaged",
                  MAX_ITEMS);
  return doc->error == NULL;
}

/* --- the text --------------------------------------------------------------------------------- */

/* Where the reading stands. AT ends with a NUL. */
typedef struct
{
  InfDoc *doc;
  const char *at;
  guint number;
  InfSection *section;
} Reader;

static gboolean
is_eol (char c)
{
  return c == '\n' || c == '\r' || c == '\0';
}

static gboolean
is_blank (char c)
{
  return c == ' ' || c == '\t' || c == '\f' || c == '\v';
}

static const char *
skip_blanks (const char *at)
{
  while (is_blank (*at))
    at++;
  return at;
}

/* To the start of the next line. */
static void
next_line (Reader *reader)
{
  while (!is_eol (*reader->at))
    reader->at++;
  if (*reader->at == '\0')
    return;
  reader->at += reader->at[0] == '\r' && reader->at[1] == '\n' ? 2 : 1;
  reader->number++;
}

/* Backslashes at the end of a line, with nothing but a comment behind them: the entry goes on. */
static gboolean
is_continued (const char *at)
{
  if (*at != '\\')
    return FALSE;
  while (*at == '\\')
    at++;
  at = skip_blanks (at);
  return is_eol (*at) || *at == ';';
}

/* The length of a %strkey% at AT, in which other characters lose their meaning; 0: there is none.
 */
static gsize
token_length (const char *at)
{
  gsize n = strcspn (at + 1, "%,\"= \t\r\n");

  return at[0] == '%' && at[n + 1] == '%' ? n + 2 : 0;
}

/* "text ""with"" quotes", to its end or that of the line. */
static void
read_quoted (Reader *reader, GString *field)
{
  for (reader->at++; !is_eol (*reader->at); reader->at++)
    {
      if (*reader->at == '"' && *++reader->at != '"')
        return;
      g_string_append_c (field, *reader->at);
    }
}

/* Read one field, up to an unquoted comma, '=' (when there may be a KEY), comment or line end,
 * which AT is then at. Blanks around it are dropped, those in quotes stay. */
static const char *
read_field (Reader *reader, gboolean may_be_key)
{
  g_autoptr (GString) field = g_string_new (NULL);
  gsize keep = 0, n;

  for (reader->at = skip_blanks (reader->at); !is_eol (*reader->at);)
    {
      if (*reader->at == ';' || *reader->at == ',' || (may_be_key && *reader->at == '='))
        break;
      if (is_continued (reader->at))
        {
          next_line (reader);
          reader->at = skip_blanks (reader->at);
        }
      else if (*reader->at == '"')
        {
          read_quoted (reader, field);
          keep = field->len;
        }
      else
        {
          n = MAX (token_length (reader->at), 1);
          g_string_append_len (field, reader->at, (gssize)n);
          reader->at += n;
          if (!is_blank (reader->at[-1]))
            keep = field->len;
        }
    }
  g_string_truncate (field, keep);
  if (field->len >= MAX_FIELD)
    h2k_inf_fail (reader->doc, reader->number, H2K_ERROR_FORMAT, "a field has more than %d bytes",
                  MAX_FIELD - 1);
  if (++reader->doc->n_fields > MAX_FIELDS)
    h2k_inf_fail (reader->doc, reader->number, H2K_ERROR_FORMAT,
                  "the file has more than %u fields: no driver's has, it is damaged", MAX_FIELDS);
  return field->len == 0
             ? ""
             : g_string_chunk_insert_len (reader->doc->texts, field->str, (gssize)field->len);
}

static void
line_free (InfLine *line)
{
  g_ptr_array_unref (line->fields);
  g_free (line);
}

static void
section_free (InfSection *section)
{
  g_ptr_array_unref (section->lines);
  g_clear_pointer (&section->index, g_hash_table_unref);
  g_free (section);
}

static void
read_entry (Reader *reader)
{
  InfLine *line = g_new0 (InfLine, 1);
  const char *field;

  line->number = reader->number;
  line->fields = g_ptr_array_new ();
  field = read_field (reader, TRUE);
  if (*reader->at == '=')
    {
      line->key = field;
      reader->at++;
      field = read_field (reader, FALSE);
    }
  g_ptr_array_add (line->fields, (char *)field);
  while (*reader->at == ',' && !reader->doc->error)
    {
      reader->at++;
      g_ptr_array_add (line->fields, (char *)read_field (reader, FALSE));
    }
  g_ptr_array_add (reader->section->lines, line);
}

static void
read_header (Reader *reader)
{
  const char *start = ++reader->at;
  g_autofree char *name = NULL, *lower = NULL;

  while (!is_eol (*reader->at) && *reader->at != ']')
    reader->at++;
  name = g_strndup (start, (gsize)(reader->at - start));
  g_strstrip (name);
  if (*reader->at != ']' || *name == '\0' || strlen (name) >= MAX_FIELD)
    {
      h2k_inf_fail (reader->doc, reader->number, H2K_ERROR_FORMAT,
                    "a section's name is missing, too long or lacks its \"]\"");
      return;
    }
  lower = g_utf8_strdown (name, -1);
  reader->section = g_hash_table_lookup (reader->doc->sections, lower);
  if (reader->section)
    return;
  reader->doc->n_fields++;
  reader->section = g_new0 (InfSection, 1);
  reader->section->name = g_string_chunk_insert (reader->doc->texts, name);
  reader->section->number = reader->number;
  reader->section->lines = g_ptr_array_new_with_free_func ((GDestroyNotify)line_free);
  g_hash_table_insert (reader->doc->sections, g_steal_pointer (&lower), reader->section);
}

static void
read_text (InfDoc *doc, const char *text)
{
  Reader reader = {doc, text, 1, NULL};

  for (; *reader.at && !doc->error; next_line (&reader))
    {
      reader.at = skip_blanks (reader.at);
      if (is_eol (*reader.at) || *reader.at == ';')
        continue;
      if (*reader.at == '[')
        read_header (&reader);
      else if (reader.section)
        read_entry (&reader);
      else
        h2k_inf_fail (doc, reader.number, H2K_ERROR_FORMAT,
                      "there is something before the first [section]: this is no INF file");
    }
}

/* --- strings ---------------------------------------------------------------------------------- */

/* The Strings section for US English, or the next best, as Windows in that language chooses. */
static InfSection *
find_language (InfDoc *doc)
{
  GHashTableIter iter;
  gpointer key, value;
  InfSection *best = NULL;
  guint best_rank = 0;

  g_hash_table_iter_init (&iter, doc->sections);
  while (g_hash_table_iter_next (&iter, &key, &value))
    {
      const char *name = key;
      guint64 language;
      guint rank;

      if (!g_str_has_prefix (name, "strings.")
          || !g_ascii_string_to_unsigned (name + strlen ("strings."), 16, 0, 0xffff, &language,
                                          NULL))
        continue;
      rank = language == 0x409 ? 0x20000 : language == 0x9 ? 0x10000 : 0;
      if (rank == 0 && (language & 0x3ff) == 0x9)
        rank = 0x10000 - (guint)language;
      if (rank > best_rank)
        {
          best_rank = rank;
          best = value;
        }
    }
  return best;
}

static GHashTable *
read_strings (const InfSection *section)
{
  GHashTable *strings = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = 0; section && i < section->lines->len; i++)
    {
      const InfLine *line = section->lines->pdata[i];
      g_autofree char *key = line->key ? g_utf8_strdown (line->key, -1) : NULL;
      if (key && !g_hash_table_contains (strings, key))
        g_hash_table_insert (strings, g_steal_pointer (&key), (char *)h2k_inf_raw (line, 0));
    }
  return strings;
}

/* What %NAME% (LENGTH bytes) stands for; NULL: it is no string key, but perhaps a directory's
 * number or an environment variable. */
static const char *
find_string (const InfDoc *doc, const char *name, gsize length)
{
  g_autofree char *key = g_utf8_strdown (name, (gssize)length);
  const char *text = g_hash_table_lookup (doc->strings[0], key);

  return text ? text : g_hash_table_lookup (doc->strings[1], key);
}

char *
h2k_inf_expand (InfDoc *doc, const char *text, guint line)
{
  GString *out = g_string_new (NULL);

  while (*text)
    {
      gsize n = strcspn (text, "%");
      const char *end, *value;

      g_string_append_len (out, text, (gssize)n);
      text += n;
      end = *text ? strchr (text + 1, '%') : NULL;
      value = end ? find_string (doc, text + 1, (gsize)(end - text - 1)) : NULL;
      if (end == text + 1)
        g_string_append_c (out, '%');
      else if (value)
        g_string_append (out, value);
      else if (end)
        g_string_append_len (out, text, end + 1 - text);
      else
        g_string_append (out, text);
      text = end ? end + 1 : text + strlen (text);
      if (out->len >= MAX_FIELD)
        {
          h2k_inf_fail (doc, line, H2K_ERROR_FORMAT,
                        "with its string keys expanded a field has more than %d bytes",
                        MAX_FIELD - 1);
          g_string_truncate (out, 0);
          break;
        }
    }
  doc->n_expanded += out->len;
  if (doc->n_expanded > MAX_EXPANDED)
    h2k_inf_fail (doc, line, H2K_ERROR_FORMAT,
                  "string keys expand to more than %u bytes in all: the file is damaged",
                  MAX_EXPANDED);
  return g_string_free (out, FALSE);
}

/* --- access ----------------------------------------------------------------------------------- */

InfSection *
h2k_inf_section (InfDoc *doc, const char *name)
{
  g_autofree char *lower = g_utf8_strdown (name, -1);

  return g_hash_table_lookup (doc->sections, lower);
}

static GHashTable *
index_lines (const InfSection *section)
{
  GHashTable *index = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = section->lines->len; i-- > 0;)
    {
      InfLine *line = section->lines->pdata[i];
      if (line->key)
        g_hash_table_replace (index, g_utf8_strdown (line->key, -1), line);
    }
  return index;
}

InfLine *
h2k_inf_first (InfSection *section, const char *key)
{
  g_autofree char *lower = g_utf8_strdown (key, -1);

  if (!section)
    return NULL;
  if (!section->index)
    section->index = index_lines (section);
  return g_hash_table_lookup (section->index, lower);
}

InfLine *
h2k_inf_next (InfDoc *doc, const InfSection *section, const char *key, guint *cursor)
{
  while (section && !doc->error && *cursor < section->lines->len)
    {
      InfLine *line = section->lines->pdata[(*cursor)++];
      if (++doc->n_looked_at > MAX_LOOKED_AT)
        h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT,
                      "too many sections refer to this one: the file is damaged");
      else if (line->key && g_ascii_strcasecmp (line->key, key) == 0)
        return line;
    }
  return NULL;
}

const char *
h2k_inf_raw (const InfLine *line, guint i)
{
  return line && i < line->fields->len ? line->fields->pdata[i] : "";
}

char *
h2k_inf_text (InfDoc *doc, const InfLine *line, guint i)
{
  return h2k_inf_expand (doc, h2k_inf_raw (line, i), line ? line->number : 0);
}

H2kInfText
h2k_inf_token (InfDoc *doc, const char *raw, guint line)
{
  gsize length = strlen (raw);
  gboolean whole = length > 2 && raw[0] == '%' && strchr (raw + 1, '%') == raw + length - 1
                   && find_string (doc, raw + 1, length - 2);

  return (H2kInfText){whole ? g_strdup (raw) : NULL, h2k_inf_expand (doc, raw, line)};
}

guint32
h2k_inf_number (InfDoc *doc, const InfLine *line, guint i, guint32 def)
{
  g_autofree char *text = h2k_inf_text (doc, line, i);
  gboolean negative = text[0] == '-';
  const char *digits = text + (negative ? 1 : 0);
  gboolean hex = digits[0] == '0' && (digits[1] | 0x20) == 'x';
  guint64 value;

  if (*text == '\0')
    return def;
  if (!g_ascii_string_to_unsigned (hex ? digits + 2 : digits, hex ? 16 : 10, 0, G_MAXUINT32, &value,
                                   NULL))
    {
      g_autofree char *safe = h2k_escape_text (text, -1);
      h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "\"%s\" is not a number of 32 bits", safe);
      return def;
    }
  return negative ? -(guint32)value : (guint32)value;
}

/* --- making it -------------------------------------------------------------------------------- */

InfDoc *
h2k_inf_doc_new (const void *data, gsize size, const char *name, const H2kWindowsRelease *target)
{
  InfDoc *doc = g_new0 (InfDoc, 1);
  g_autofree char *text = NULL;

  doc->name = h2k_escape_text (name, -1);
  doc->target = target;
  doc->texts = g_string_chunk_new (4096);
  doc->warnings = g_ptr_array_new_with_free_func (g_free);
  doc->sections
      = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)section_free);
  if (size > H2K_INF_MAX_SIZE)
    h2k_inf_fail (doc, 0, H2K_ERROR_FORMAT,
                  "%" G_GSIZE_FORMAT " bytes are too many for an INF file", size);
  else
    text = h2k_inf_decode (data, size, doc->name, &doc->error);
  if (text)
    read_text (doc, text);
  doc->strings[0] = read_strings (find_language (doc));
  doc->strings[1] = read_strings (h2k_inf_section (doc, "Strings"));
  return doc;
}

void
h2k_inf_doc_free (InfDoc *doc)
{
  g_hash_table_unref (doc->sections);
  g_hash_table_unref (doc->strings[0]);
  g_hash_table_unref (doc->strings[1]);
  g_string_chunk_free (doc->texts);
  g_ptr_array_unref (doc->warnings);
  g_clear_error (&doc->error);
  g_free (doc->name);
  g_free (doc);
}

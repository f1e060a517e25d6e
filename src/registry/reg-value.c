/* reg-value.c - values of the registry: made, read and shown.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/private.h"
#include "util/util.h"

/* Characters of a value that are shown. */
#define SHOWN 200u

void
h2k_reg_value_free (H2kRegValue *value)
{
  if (!value)
    return;
  g_free (value->name);
  g_clear_pointer (&value->data, g_bytes_unref);
  g_free (value);
}

H2kRegValue *
h2k_reg_new (const char *name, guint32 type, gconstpointer data, gsize length)
{
  H2kRegValue *value = g_new0 (H2kRegValue, 1);

  value->name = g_strdup (name);
  value->type = type;
  value->data = g_bytes_new (data, length);
  return value;
}

H2kRegValue *
h2k_reg_dword (const char *name, guint32 value)
{
  guint32 le = GUINT32_TO_LE (value);

  return h2k_reg_new (name, H2K_REG_DWORD, &le, sizeof le);
}

H2kRegValue *
h2k_reg_qword (const char *name, guint64 value)
{
  guint64 le = GUINT64_TO_LE (value);

  return h2k_reg_new (name, H2K_REG_QWORD, &le, sizeof le);
}

H2kRegValue *
h2k_reg_binary (const char *name, gconstpointer data, gsize length)
{
  return h2k_reg_new (name, H2K_REG_BINARY, data, length);
}

H2kRegValue *
h2k_reg_none (const char *name)
{
  return h2k_reg_new (name, H2K_REG_NONE, NULL, 0);
}

/* --- texts ------------------------------------------------------------------------------------ */

/* Append TEXT with the NUL at its end. */
static void
append_text (GByteArray *bytes, const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  glong length = 0;
  g_autofree gunichar2 *units = g_utf8_to_utf16 (valid, -1, NULL, &length, NULL);

  for (glong i = 0; i <= length; i++)
    units[i] = GUINT16_TO_LE (units[i]);
  g_byte_array_append (bytes, (const guint8 *)units, ((guint)length + 1) * 2);
}

static H2kRegValue *
new_from_array (const char *name, guint32 type, const GByteArray *bytes)
{
  return h2k_reg_new (name, type, bytes->data, bytes->len);
}

H2kRegValue *
h2k_reg_string (const char *name, H2kRegType type, const char *text)
{
  g_autoptr (GByteArray) bytes = g_byte_array_new ();

  append_text (bytes, text);
  return new_from_array (name, type, bytes);
}

H2kRegValue *
h2k_reg_strings (const char *name, const char *const *texts)
{
  g_autoptr (GByteArray) bytes = g_byte_array_new ();

  /* An empty text would end the list for whoever reads it. */
  for (; *texts; texts++)
    if (**texts)
      append_text (bytes, *texts);
  append_text (bytes, "");
  return new_from_array (name, H2K_REG_MULTI_SZ, bytes);
}

char *
h2k_reg_decode (const guint8 *data, gsize n_units)
{
  GString *text = g_string_sized_new (n_units);

  for (gsize i = 0; i < n_units; i++)
    {
      gunichar unit = h2k_le16 (data + 2 * i);
      gunichar low = i + 1 < n_units ? h2k_le16 (data + 2 * i + 2) : 0;

      if ((unit & 0xfc00) == 0xd800 && (low & 0xfc00) == 0xdc00)
        {
          unit = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
          i++;
        }
      g_string_append_unichar (text, (unit & 0xfffff800) == 0xd800 ? 0xfffd : unit);
    }
  return g_string_free (text, FALSE);
}

char *
h2k_reg_fold (const char *name)
{
  GString *folded = g_string_sized_new (strlen (name));

  for (; *name; name = g_utf8_next_char (name))
    g_string_append_unichar (folded, g_unichar_toupper (g_utf8_get_char (name)));
  return g_string_free (folded, FALSE);
}

gboolean
h2k_reg_same_name (const char *a, const char *b)
{
  for (; *a && *b; a = g_utf8_next_char (a), b = g_utf8_next_char (b))
    if (g_unichar_toupper (g_utf8_get_char (a)) != g_unichar_toupper (g_utf8_get_char (b)))
      return FALSE;
  return *a == *b;
}

/* How many units the text at DATA has, up to its NUL or MAX. */
static gsize
text_length (const guint8 *data, gsize max)
{
  gsize n = 0;

  while (n < max && h2k_le16 (data + 2 * n) != 0)
    n++;
  return n;
}

char *
h2k_reg_value_string (const H2kRegValue *value)
{
  gsize size;
  const guint8 *data;

  if (!value || (value->type != H2K_REG_SZ && value->type != H2K_REG_EXPAND_SZ))
    return NULL;
  data = g_bytes_get_data (value->data, &size);
  return h2k_reg_decode (data, text_length (data, size / 2));
}

GStrv
h2k_reg_value_strings (const H2kRegValue *value)
{
  g_autoptr (GPtrArray) texts = g_ptr_array_new_with_free_func (g_free);
  const guint8 *data;
  gsize size, n;

  if (!value || value->type != H2K_REG_MULTI_SZ)
    return NULL;
  data = g_bytes_get_data (value->data, &size);
  for (gsize at = 0; at < size / 2 && (n = text_length (data + 2 * at, size / 2 - at)) > 0;
       at += n + 1)
    g_ptr_array_add (texts, h2k_reg_decode (data + 2 * at, n));
  g_ptr_array_add (texts, NULL);
  return (GStrv)g_ptr_array_free (g_steal_pointer (&texts), FALSE);
}

/* --- numbers ---------------------------------------------------------------------------------- */

gboolean
h2k_reg_value_dword (const H2kRegValue *value, guint32 *out)
{
  if (!value || value->type != H2K_REG_DWORD || g_bytes_get_size (value->data) != 4)
    return FALSE;
  *out = h2k_le32 (g_bytes_get_data (value->data, NULL));
  return TRUE;
}

gboolean
h2k_reg_value_qword (const H2kRegValue *value, guint64 *out)
{
  if (!value || value->type != H2K_REG_QWORD || g_bytes_get_size (value->data) != 8)
    return FALSE;
  *out = h2k_le64 (g_bytes_get_data (value->data, NULL));
  return TRUE;
}

/* --- for people ------------------------------------------------------------------------------- */

/* TEXT, escaped, at most SHOWN characters of it, in quotes. */
static void
append_quoted (GString *out, const char *text)
{
  glong length = g_utf8_strlen (text, -1);
  g_autofree char *part = g_utf8_substring (text, 0, MIN (length, (glong)SHOWN));
  g_autofree char *escaped = h2k_escape_text (part, -1);

  g_string_append_c (out, '"');
  for (const char *c = escaped; *c; c++)
    if (*c == '\n')
      g_string_append (out, "\\x0a");
    else if (*c == '\t')
      g_string_append (out, "\\x09");
    else
      g_string_append_c (out, *c);
  g_string_append_c (out, '"');
  if (length > (glong)SHOWN)
    g_string_append_printf (out, " ... (%ld characters)", length);
}

static void
append_hex (GString *out, const H2kRegValue *value)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (value->data, &size);

  if (value->type == H2K_REG_BINARY)
    g_string_append (out, "hex:");
  else
    g_string_append_printf (out, "hex(%x):", value->type);
  for (gsize i = 0; i < MIN (size, SHOWN / 3); i++)
    g_string_append_printf (out, i ? ",%02x" : "%02x", data[i]);
  if (size > SHOWN / 3)
    g_string_append_printf (out, ",... (%" G_GSIZE_FORMAT " bytes)", size);
}

/* Whether DATA is what h2k_reg_decode() shows all of: an even number of bytes, one NUL, at the end.
 */
static gboolean
is_plain_text (const H2kRegValue *value)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (value->data, &size);

  return size >= 2 && size % 2 == 0 && text_length (data, size / 2) == size / 2 - 1;
}

static gboolean
append_text_value (GString *out, const H2kRegValue *value)
{
  g_auto (GStrv) texts = h2k_reg_value_strings (value);
  g_autofree char *text = h2k_reg_value_string (value);

  if (texts)
    {
      if (!texts[0])
        g_string_append (out, "(no strings)");
      for (guint i = 0; texts[i] && out->len < SHOWN; i++)
        {
          g_string_append (out, i ? ", " : "");
          append_quoted (out, texts[i]);
          if (texts[i + 1] && out->len >= SHOWN)
            g_string_append_printf (out, ", ... (%u strings)", g_strv_length (texts));
        }
      return TRUE;
    }
  if (!text || !is_plain_text (value))
    return FALSE;
  g_string_append (out, value->type == H2K_REG_EXPAND_SZ ? "expand:" : "");
  append_quoted (out, text);
  return TRUE;
}

char *
h2k_reg_value_to_text (const H2kRegValue *value)
{
  GString *out = g_string_new ("");
  guint32 dword;
  guint64 qword;

  if (!value)
    g_string_append (out, "(none)");
  else if (h2k_reg_value_dword (value, &dword))
    g_string_append_printf (out, "dword:0x%08x", dword);
  else if (h2k_reg_value_qword (value, &qword))
    g_string_append_printf (out, "qword:0x%016" G_GINT64_MODIFIER "x", qword);
  else if (!append_text_value (out, value))
    append_hex (out, value);
  return g_string_free (out, FALSE);
}

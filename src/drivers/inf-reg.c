/* inf-reg.c - the registry lines of an INF: "INF AddReg Directive" and "INF DelReg Directive" of
 * Microsoft's driver documentation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf-private.h"

enum
{
  FLG_BINARY = 0x00000001,
  FLG_NOCLOBBER = 0x00000002,
  FLG_DELVAL = 0x00000004,
  FLG_APPEND = 0x00000008,
  FLG_KEYONLY = 0x00000010,
  FLG_OVERWRITEONLY = 0x00000020,
  FLG_KEYONLY_COMMON = 0x00002000,
  FLG_TYPE_MULTI_SZ = 0x00010000,
  FLG_DEL_STRING = 0x00018002,
};

enum
{
  TYPE_NONE = 0,
  TYPE_SZ = 1,
  TYPE_EXPAND_SZ = 2,
  TYPE_BINARY = 3,
  TYPE_DWORD = 4,
  TYPE_MULTI_SZ = 7,
};

/* The fields of a line. */
enum
{
  FIELD_ROOT,
  FIELD_KEY,
  FIELD_NAME,
  FIELD_FLAGS,
  FIELD_DATA,
};

/* What the low bit and the high word of the flags say; any other number in the high word is that
 * type, given as bytes. */
static const struct
{
  guint32 flags;
  guint32 type;
} types[] = {
    {0x00000000, TYPE_SZ},     {0x00010000, TYPE_MULTI_SZ}, {0x00020000, TYPE_EXPAND_SZ},
    {0x00000001, TYPE_BINARY}, {0x00010001, TYPE_DWORD},    {0x00020001, TYPE_NONE},
};

static const struct
{
  const char *name;
  H2kInfRoot root;
} roots[] = {
    {"HKCR", H2K_INF_HKCR}, {"HKCU", H2K_INF_HKCU}, {"HKLM", H2K_INF_HKLM},
    {"HKU", H2K_INF_HKU},   {"HKR", H2K_INF_HKR},
};

void
h2k_inf_reg_free (H2kInfReg *reg)
{
  g_free (reg->key);
  g_free (reg->name);
  g_clear_pointer (&reg->data, g_bytes_unref);
  g_free (reg);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kInfReg, h2k_inf_reg_free)

static gboolean
parse_type (guint32 flags, guint32 *type)
{
  flags &= 0xffff0000 | FLG_BINARY;
  for (gsize i = 0; i < G_N_ELEMENTS (types); i++)
    if (types[i].flags == flags)
      {
        *type = types[i].type;
        return TRUE;
      }
  *type = flags >> 16;
  return (flags & FLG_BINARY) != 0;
}

/* TEXT and its NUL in UTF-16LE. */
static void
append_string (GByteArray *out, const char *text)
{
  glong units = 0;
  g_autofree gunichar2 *utf16 = g_utf8_to_utf16 (text, -1, NULL, &units, NULL);

  for (glong i = 0; utf16 && i <= units; i++)
    {
      guint16 unit = GUINT16_TO_LE (utf16[i]);
      g_byte_array_append (out, (const guint8 *)&unit, sizeof unit);
    }
}

static void
append_strings (InfDoc *doc, const InfLine *line, GByteArray *out)
{
  guint16 end = 0;

  for (guint i = FIELD_DATA; i < line->fields->len; i++)
    {
      g_autofree char *text = h2k_inf_text (doc, line, i);
      /* An empty string would end the list. */
      if (*text)
        append_string (out, text);
    }
  g_byte_array_append (out, (const guint8 *)&end, sizeof end);
}

static void
append_bytes (InfDoc *doc, const InfLine *line, GByteArray *out)
{
  for (guint i = FIELD_DATA; i < line->fields->len && !doc->error; i++)
    {
      g_autofree char *text = h2k_inf_text (doc, line, i);
      const char *digits = g_ascii_strncasecmp (text, "0x", 2) == 0 ? text + 2 : text;
      guint64 value;
      guint8 byte;

      /* A comma at the end of a line that goes on, or of the last one. */
      if (*text == '\0')
        continue;
      if (!g_ascii_string_to_unsigned (digits, 16, 0, 0xff, &value, NULL))
        {
          g_autofree char *safe = h2k_escape_text (text, -1);
          h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT,
                        "\"%s\" is not a hexadecimal byte of binary data", safe);
        }
      byte = (guint8)value;
      g_byte_array_append (out, &byte, 1);
    }
}

static GBytes *
read_data (InfDoc *doc, const InfLine *line, guint32 type)
{
  GByteArray *out = g_byte_array_new ();
  guint n = line->fields->len - MIN (line->fields->len, FIELD_DATA);

  if (type == TYPE_SZ || type == TYPE_EXPAND_SZ)
    {
      g_autofree char *text = h2k_inf_text (doc, line, FIELD_DATA);
      append_string (out, text);
    }
  else if (type == TYPE_MULTI_SZ)
    append_strings (doc, line, out);
  else if (type == TYPE_DWORD && n < 4)
    {
      guint32 value = GUINT32_TO_LE (h2k_inf_number (doc, line, FIELD_DATA, 0));
      g_byte_array_append (out, (const guint8 *)&value, sizeof value);
    }
  else
    append_bytes (doc, line, out);
  if (type == TYPE_DWORD && out->len != 4)
    h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "a REG_DWORD of %u bytes", out->len);
  return g_byte_array_free_to_bytes (out);
}

static void
add_action (InfDoc *doc, const InfLine *line, H2kInfReg *reg)
{
  gboolean has_value = line->fields->len > FIELD_DATA;

  reg->keep = (reg->flags & FLG_NOCLOBBER) != 0;
  reg->if_set = (reg->flags & FLG_OVERWRITEONLY) != 0;
  if (reg->flags & FLG_DELVAL)
    reg->action = *reg->name ? H2K_INF_REG_DELETE_VALUE : H2K_INF_REG_DELETE_KEY;
  else if (reg->flags & (FLG_KEYONLY | FLG_KEYONLY_COMMON))
    reg->action = H2K_INF_REG_KEY;
  else if (!parse_type (reg->flags, &reg->type))
    h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "0x%08x is no type of the registry",
                  reg->flags);
  else if (reg->type == TYPE_SZ && *reg->name == '\0' && !has_value)
    reg->action = H2K_INF_REG_KEY;
  else
    {
      reg->action = reg->flags & FLG_APPEND && reg->type == TYPE_MULTI_SZ ? H2K_INF_REG_APPEND
                                                                          : H2K_INF_REG_SET;
      reg->data = read_data (doc, line, reg->type);
    }
}

static void
delete_action (InfDoc *doc, const InfLine *line, H2kInfReg *reg)
{
  if ((reg->flags & FLG_DEL_STRING) == FLG_DEL_STRING)
    {
      reg->action = H2K_INF_REG_DELETE_STRING;
      reg->type = TYPE_MULTI_SZ;
      reg->data = read_data (doc, line, TYPE_MULTI_SZ);
    }
  else if (reg->flags & FLG_KEYONLY_COMMON || *reg->name == '\0')
    reg->action = H2K_INF_REG_DELETE_KEY;
  else
    reg->action = H2K_INF_REG_DELETE_VALUE;
}

static H2kInfReg *
read_line (InfDoc *doc, const InfLine *line, gboolean adds)
{
  g_autoptr (H2kInfReg) reg = g_new0 (H2kInfReg, 1);
  g_autofree char *root = h2k_inf_text (doc, line, FIELD_ROOT);
  gsize i;

  reg->key = h2k_inf_text (doc, line, FIELD_KEY);
  reg->name = h2k_inf_text (doc, line, FIELD_NAME);
  reg->flags = h2k_inf_number (doc, line, FIELD_FLAGS, 0);
  reg->line = line->number;
  for (i = 0; i < G_N_ELEMENTS (roots); i++)
    if (g_ascii_strcasecmp (roots[i].name, root) == 0)
      break;
  if (line->key || i == G_N_ELEMENTS (roots))
    {
      h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT,
                    "it does not begin with a root of the registry (HKR, HKLM, HKCR, HKCU, HKU)");
      return NULL;
    }
  reg->root = roots[i].root;
  if (adds)
    add_action (doc, line, reg);
  else
    delete_action (doc, line, reg);
  if (reg->action == H2K_INF_REG_DELETE_KEY && *reg->key == '\0' && reg->root != H2K_INF_HKR)
    h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "it would delete all of %s", roots[i].name);
  return doc->error ? NULL : g_steal_pointer (&reg);
}

static void
read_section (InfDoc *doc, const char *name, guint number, gboolean adds, GPtrArray *list)
{
  const InfSection *section = h2k_inf_section (doc, name);

  if (!section)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      h2k_inf_warn (doc, number, "there is no section [%s]", safe);
    }
  for (guint i = 0; section && i < section->lines->len; i++)
    {
      const InfLine *line = section->lines->pdata[i];
      H2kInfReg *reg = h2k_inf_charge (doc, line->number) ? read_line (doc, line, adds) : NULL;
      if (!reg)
        return;
      g_ptr_array_add (list, reg);
    }
}

void
h2k_inf_read_reg (InfDoc *doc, const InfSection *section, GPtrArray *list)
{
  /* As Windows does it: what is to be deleted first. */
  static const char *const directives[] = {"DelReg", "AddReg"};

  for (gsize d = 0; d < G_N_ELEMENTS (directives); d++)
    {
      const InfLine *line;
      guint cursor = 0;

      while ((line = h2k_inf_next (doc, section, directives[d], &cursor)))
        for (guint i = 0; i < line->fields->len && h2k_inf_charge (doc, line->number); i++)
          {
            g_autofree char *name = h2k_inf_text (doc, line, i);
            if (*name)
              read_section (doc, name, line->number, d == 1, list);
          }
    }
}

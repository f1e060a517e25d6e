/* report-render.c - the report for people: one walk over the JSON tree, two ways to write it.
 *
 * Markdown follows CommonMark (with tables), HTML is one self-contained page. All texts of the
 * guest are escaped for the language they end up in; the tree holds no control characters.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/migrate.h"

/* How one markup language writes what a report is made of. */
typedef struct
{
  void (*begin) (GString *out, const char *title);
  void (*heading) (GString *out, const char *text);
  void (*paragraph) (GString *out, const char *text);
  void (*table_begin) (GString *out);
  void (*table_row) (GString *out, const char *name, const char *value);
  void (*table_end) (GString *out);
  void (*item) (GString *out, const char *strong, const char *text);
  void (*items_begin) (GString *out);
  void (*items_end) (GString *out);
  void (*code) (GString *out, const char *language, const char *text);
  void (*end) (GString *out);
} Markup;

/* --- Markdown --------------------------------------------------------------------------------- */

/* TEXT on one line, with everything that Markdown could act on escaped. */
static void
md_text (GString *out, const char *text)
{
  for (; *text; text++)
    {
      if (*text == '\n' || *text == '\t')
        {
          g_string_append_c (out, ' ');
          continue;
        }
      if (strchr ("\\`*_{}[]<>|#~&!", *text))
        g_string_append_c (out, '\\');
      g_string_append_c (out, *text);
    }
}

static void
md_begin (GString *out, const char *title)
{
  g_string_append (out, "# ");
  md_text (out, title);
  g_string_append (out, "\n\n");
}

static void
md_heading (GString *out, const char *text)
{
  g_string_append (out, "## ");
  md_text (out, text);
  g_string_append (out, "\n\n");
}

static void
md_paragraph (GString *out, const char *text)
{
  md_text (out, text);
  g_string_append (out, "\n\n");
}

static void
md_table_begin (GString *out)
{
  g_string_append (out, "| | |\n|---|---|\n");
}

static void
md_table_row (GString *out, const char *name, const char *value)
{
  g_string_append (out, "| ");
  md_text (out, name);
  g_string_append (out, " | ");
  md_text (out, value);
  g_string_append (out, " |\n");
}

static void
md_blank (GString *out)
{
  g_string_append_c (out, '\n');
}

static void
md_nothing (GString *out)
{
}

static void
md_item (GString *out, const char *strong, const char *text)
{
  g_string_append (out, "- ");
  if (strong)
    {
      g_string_append (out, "**");
      md_text (out, strong);
      g_string_append (out, "**: ");
    }
  md_text (out, text);
  g_string_append_c (out, '\n');
}

/* A fence longer than any run of backticks in TEXT. */
static void
md_code (GString *out, const char *language, const char *text)
{
  gsize longest = 2, run = 0;

  for (const char *p = text; *p; p++)
    {
      run = *p == '`' ? run + 1 : 0;
      longest = MAX (longest, run);
    }
  g_autofree char *fence = g_strnfill (longest + 1, '`');
  g_string_append_printf (out, "\n%s%s\n%s%s%s\n\n", fence, language, text,
                          g_str_has_suffix (text, "\n") ? "" : "\n", fence);
}

static const Markup markdown = {
    .begin = md_begin,
    .heading = md_heading,
    .paragraph = md_paragraph,
    .table_begin = md_table_begin,
    .table_row = md_table_row,
    .table_end = md_blank,
    .items_begin = md_nothing,
    .item = md_item,
    .items_end = md_blank,
    .code = md_code,
    .end = md_nothing,
};

/* --- HTML ------------------------------------------------------------------------------------- */

static void
html_element (GString *out, const char *element, const char *text)
{
  g_autofree char *safe = g_markup_escape_text (text, -1);

  g_string_append_printf (out, "<%s>%s</%s>\n", element, safe, element);
}

static void
html_begin (GString *out, const char *title)
{
  g_autofree char *safe = g_markup_escape_text (title, -1);

  g_string_append_printf (
      out,
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>%s</title>\n<style>\n"
      "body{font:15px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;"
      "color:#1c1e21;background:#fff}\n"
      "h1{font-size:1.6em}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid #ddd}\n"
      "table{border-collapse:collapse}td,th{text-align:left;padding:.2em 1.2em .2em 0;"
      "vertical-align:top}th{font-weight:600;color:#555}\n"
      "pre{background:#f5f6f7;padding:.8em;overflow-x:auto;font:13px/1.4 ui-monospace,monospace}\n"
      ".add{color:#116329}.del{color:#a40e26}\n</style>\n</head>\n<body>\n<h1>%s</h1>\n",
      safe, safe);
}

static void
html_heading (GString *out, const char *text)
{
  html_element (out, "h2", text);
}

static void
html_paragraph (GString *out, const char *text)
{
  html_element (out, "p", text);
}

static void
html_table_begin (GString *out)
{
  g_string_append (out, "<table>\n");
}

static void
html_table_row (GString *out, const char *name, const char *value)
{
  g_autofree char *n = g_markup_escape_text (name, -1);
  g_autofree char *v = g_markup_escape_text (value, -1);

  g_string_append_printf (out, "<tr><th>%s</th><td>%s</td></tr>\n", n, v);
}

static void
html_table_end (GString *out)
{
  g_string_append (out, "</table>\n");
}

static void
html_items_begin (GString *out)
{
  g_string_append (out, "<ul>\n");
}

static void
html_items_end (GString *out)
{
  g_string_append (out, "</ul>\n");
}

static void
html_item (GString *out, const char *strong, const char *text)
{
  g_autofree char *s = strong ? g_markup_escape_text (strong, -1) : NULL;
  g_autofree char *t = g_markup_escape_text (text, -1);

  if (s)
    g_string_append_printf (out, "<li><b>%s</b>: %s</li>\n", s, t);
  else
    g_string_append_printf (out, "<li>%s</li>\n", t);
}

static void
html_code (GString *out, const char *language, const char *text)
{
  gboolean diff = g_str_equal (language, "diff");
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);

  g_string_append (out, "<pre>");
  for (guint i = 0; lines[i]; i++)
    {
      g_autofree char *safe = g_markup_escape_text (lines[i], -1);
      const char *class = !diff ? NULL : safe[0] == '+' ? "add" : safe[0] == '-' ? "del" : NULL;

      if (!lines[i + 1] && !*safe)
        break;
      if (class)
        g_string_append_printf (out, "<span class=\"%s\">%s</span>\n", class, safe);
      else
        g_string_append_printf (out, "%s\n", safe);
    }
  g_string_append (out, "</pre>\n");
}

static void
html_end (GString *out)
{
  g_string_append (out, "</body>\n</html>\n");
}

static const Markup html = {
    .begin = html_begin,
    .heading = html_heading,
    .paragraph = html_paragraph,
    .table_begin = html_table_begin,
    .table_row = html_table_row,
    .table_end = html_table_end,
    .items_begin = html_items_begin,
    .item = html_item,
    .items_end = html_items_end,
    .code = html_code,
    .end = html_end,
};

/* --- the walk --------------------------------------------------------------------------------- */

static const char *
text_of (JsonObject *object, const char *key)
{
  return json_object_get_string_member_with_default (object, key, NULL);
}

static JsonObject *
object_of (JsonObject *object, const char *key)
{
  return json_object_has_member (object, key) ? json_object_get_object_member (object, key) : NULL;
}

static JsonArray *
array_of (JsonObject *object, const char *key)
{
  return json_object_has_member (object, key) ? json_object_get_array_member (object, key) : NULL;
}

static guint
length_of (JsonArray *array)
{
  return array ? json_array_get_length (array) : 0;
}

/* A text, or a list of texts joined by commas; NULL: neither. The caller's. */
static char *
words_of (JsonObject *object, const char *key)
{
  JsonNode *node = json_object_get_member (object, key);
  GString *out = NULL;

  if (!node || !JSON_NODE_HOLDS_ARRAY (node))
    return g_strdup (node ? json_node_get_string (node) : NULL);
  out = g_string_new (NULL);
  for (guint i = 0; i < length_of (json_node_get_array (node)); i++)
    g_string_append_printf (out, "%s%s", i ? ", " : "",
                            json_array_get_string_element (json_node_get_array (node), i));
  return g_string_free (out, FALSE);
}

static void
row (const Markup *m, GString *out, const char *name, const char *value)
{
  if (value && *value)
    m->table_row (out, name, value);
}

static void
row_size (const Markup *m, GString *out, const char *name, JsonObject *object, const char *key)
{
  if (!json_object_has_member (object, key))
    return;
  g_autofree char *size = h2k_format_size ((guint64)json_object_get_int_member (object, key));
  m->table_row (out, name, size);
}

static void
render_nics (const Markup *m, GString *out, JsonArray *nics)
{
  for (guint i = 0; i < length_of (nics); i++)
    {
      JsonObject *nic = json_array_get_object_element (nics, i);
      const char *mac = text_of (nic, "mac"), *network = text_of (nic, "network");
      const char *model = text_of (nic, "model");
      g_autofree char *text
          = g_strdup_printf ("%s%s%s%s%s", model ? model : "NIC", mac ? ", " : "", mac ? mac : "",
                             network ? ", connected to " : "", network ? network : "");
      m->item (out, NULL, text);
    }
}

static void
render_source (const Markup *m, GString *out, JsonObject *root)
{
  JsonObject *source = object_of (root, "source");
  JsonArray *disks = source ? array_of (source, "disks") : NULL;

  if (!length_of (disks))
    return;
  m->heading (out, "Source");
  m->items_begin (out);
  for (guint i = 0; i < length_of (disks); i++)
    {
      JsonObject *disk = json_array_get_object_element (disks, i);
      const char *subformat = text_of (disk, "subformat");
      g_autofree char *size = h2k_format_size ((guint64)json_object_get_int_member (disk, "size"));
      const char *bus = text_of (disk, "bus"), *model = text_of (disk, "controller_model");
      g_autofree char *text
          = g_strdup_printf ("%s%s%s, %s%s%s%s%s", text_of (disk, "format"), subformat ? " " : "",
                             subformat ? subformat : "", size, bus ? ", on " : "", bus ? bus : "",
                             bus && model ? " " : "", bus && model ? model : "");
      m->item (out, text_of (disk, "path"), text);
    }
  render_nics (m, out, array_of (source, "nics"));
  m->items_end (out);
}

/* Where a part of the guest's tree lies, and what reads and changes it. */
static void
render_mounted (const Markup *m, GString *out, JsonArray *volumes)
{
  for (guint i = 0; i < length_of (volumes); i++)
    {
      JsonObject *volume = json_array_get_object_element (volumes, i);
      const char *path = text_of (volume, "mountpoint"), *subvolume = text_of (volume, "subvolume");
      const char *backend = text_of (volume, "backend"), *uuid = text_of (volume, "uuid");
      g_autofree char *text = NULL;

      if (!path || !*path || !backend || !*backend)
        continue;
      text = g_strdup_printf ("%s %s%s%s, by %s: %s", text_of (volume, "type"), uuid ? uuid : "",
                              subvolume && *subvolume ? ", subvolume " : "",
                              subvolume ? subvolume : "", backend,
                              text_of (volume, "backend_reason"));
      row (m, out, path, text);
    }
}

/* What the inspection says, its lists as words; the rest of the disks is for programs. */
static void
render_guest (const Markup *m, GString *out, JsonObject *root)
{
  static const char *const keys[][2] = {
      {"pretty_name", "System"},
      {"hostname", "Host name"},
      {"architecture", "Architecture"},
      {"firmware", "Firmware"},
      {"bootloader", "Boot loader"},
      {"initramfs_generator", "Initramfs by"},
      {"init", "Init"},
      {"network", "Network by"},
      {"hypervisor_tools", "Old hypervisor's parts"},
  };
  JsonObject *guest = object_of (root, "guest");
  JsonArray *kernels = guest ? array_of (guest, "kernels") : NULL;
  JsonArray *disks = guest ? array_of (guest, "disks") : NULL;

  if (!guest)
    return;
  m->heading (out, "Guest");
  m->table_begin (out);
  for (guint i = 0; i < G_N_ELEMENTS (keys); i++)
    {
      g_autofree char *words = words_of (guest, keys[i][0]);
      gboolean of_linux
          = g_str_equal (keys[i][0], "init") || g_str_equal (keys[i][0], "initramfs_generator");
      if (of_linux && json_object_has_member (guest, "windows"))
        continue;
      row (m, out, keys[i][1], words);
    }
  for (guint i = 0; i < length_of (kernels); i++)
    row (m, out, "Kernel", text_of (json_array_get_object_element (kernels, i), "version"));
  for (guint i = 0; i < length_of (disks); i++)
    render_mounted (m, out, array_of (json_array_get_object_element (disks, i), "volumes"));
  render_mounted (m, out, array_of (guest, "volumes"));
  m->table_end (out);
}

/* One line each, and what was found below it. */
static void
render_filesystems (const Markup *m, GString *out, JsonObject *root)
{
  JsonArray *all = array_of (root, "filesystems");

  if (!length_of (all))
    return;
  m->heading (out, "Filesystems");
  m->items_begin (out);
  for (guint i = 0; i < length_of (all); i++)
    {
      JsonObject *fs = json_array_get_object_element (all, i);
      const char *reason = text_of (fs, "reason");
      JsonArray *findings = array_of (fs, "findings"), *remarks = array_of (fs, "remarks");
      gboolean again
          = json_object_get_boolean_member_with_default (fs, "checked_after_repair", FALSE);
      g_autofree char *text
          = g_strdup_printf ("%s, %s%s%s%s", text_of (fs, "type"), text_of (fs, "status"),
                             reason ? ": " : "", reason ? reason : "",
                             again ? ", checked again after the repairs" : "");

      m->item (out, text_of (fs, "volume"), text);
      for (guint k = 0; k < length_of (findings); k++)
        m->item (out, "corrupt", json_array_get_string_element (findings, k));
      for (guint k = 0; k < length_of (remarks); k++)
        m->item (out, "harmless", json_array_get_string_element (remarks, k));
    }
  m->items_end (out);
}

static void
render_changes (const Markup *m, GString *out, JsonArray *changes)
{
  for (guint j = 0; j < length_of (changes); j++)
    {
      JsonObject *change = json_array_get_object_element (changes, j);
      const char *diff = text_of (change, "diff");
      const char *summary = text_of (change, "summary");
      g_autofree char *text = g_strdup_printf ("%s, because %s", text_of (change, "kind"),
                                               text_of (change, "reason"));

      m->items_begin (out);
      m->item (out, text_of (change, "path"), text);
      m->items_end (out);
      if (diff && *diff)
        m->code (out, "diff", diff);
      else if (summary)
        m->code (out, "", summary);
    }
}

static void
render_repairs (const Markup *m, GString *out, JsonObject *root)
{
  JsonArray *repairs = array_of (root, "repairs");

  if (!length_of (repairs))
    return;
  m->heading (out, "Repairs");
  m->table_begin (out);
  for (guint i = 0; i < length_of (repairs); i++)
    {
      JsonObject *repair = json_array_get_object_element (repairs, i);
      row (m, out, text_of (repair, "name"), text_of (repair, "status"));
    }
  m->table_end (out);
  for (guint i = 0; i < length_of (repairs); i++)
    {
      JsonObject *repair = json_array_get_object_element (repairs, i);
      JsonArray *changes = array_of (repair, "changes");
      if (!length_of (changes))
        continue;
      g_autofree char *title = g_strdup_printf ("Repair: %s", text_of (repair, "name"));
      m->heading (out, title);
      m->paragraph (out, text_of (repair, "why"));
      render_changes (m, out, changes);
    }
}

static void
render_warnings (const Markup *m, GString *out, JsonObject *root)
{
  JsonArray *warnings = array_of (root, "warnings");

  if (!length_of (warnings))
    return;
  m->heading (out, "Warnings");
  m->items_begin (out);
  for (guint i = 0; i < length_of (warnings); i++)
    m->item (out, NULL, json_array_get_string_element (warnings, i));
  m->items_end (out);
}

static void
render_output (const Markup *m, GString *out, JsonObject *root)
{
  JsonObject *output = object_of (root, "output");
  JsonObject *copy = object_of (root, "copy");
  JsonArray *disks = output ? array_of (output, "disks") : NULL;

  if (!output)
    return;
  m->heading (out, "Output");
  m->table_begin (out);
  for (guint i = 0; i < length_of (disks); i++)
    {
      JsonObject *disk = json_array_get_object_element (disks, i);
      row (m, out, "Disk", text_of (disk, "path"));
      row (m, out, "Format", text_of (disk, "format"));
      row_size (m, out, "Virtual size", disk, "virtual_size");
      row_size (m, out, "File size", disk, "file_size");
    }
  row (m, out, "Domain", text_of (output, "domain_xml"));
  row (m, out, "First boot", text_of (output, "bootstrap_xml"));
  row (m, out, "Why that", text_of (output, "bootstrap_reason"));
  if (copy)
    {
      row_size (m, out, "Read from the source", copy, "bytes_read");
      row_size (m, out, "Never read (zero or unused)", copy, "bytes_skipped");
      row_size (m, out, "Written", copy, "bytes_written");
    }
  row_size (m, out, "Changed by the repairs", root, "overlay_bytes");
  if (json_object_has_member (output, "verified"))
    row (m, out, "Verified",
         json_object_get_boolean_member (output, "verified") ? "read back and compared" : "no");
  m->table_end (out);
}

static void
render_boot (const Markup *m, GString *out, JsonObject *root)
{
  JsonObject *boot = object_of (root, "boot");
  g_autofree char *seconds = NULL;

  if (!boot)
    return;
  seconds = g_strdup_printf ("%.1f s", json_object_get_double_member (boot, "seconds"));
  m->heading (out, "Boot test");
  m->table_begin (out);
  row (m, out, "Verdict", text_of (boot, "verdict"));
  row (m, out, "After", seconds);
  row (m, out, "Evidence", text_of (boot, "evidence"));
  row (m, out, "Network", text_of (boot, "network"));
  row (m, out, "Accelerator", text_of (boot, "accel"));
  row (m, out, "Not KVM because", text_of (boot, "accel_why"));
  m->table_end (out);
  if (text_of (boot, "console"))
    {
      m->paragraph (out, "The end of the guest's console:");
      m->code (out, "", text_of (boot, "console"));
    }
}

static void
render_start (const Markup *m, GString *out, JsonObject *root)
{
  JsonObject *start = object_of (root, "start");

  if (!start)
    return;
  m->heading (out, "Start the VM");
  if (text_of (start, "libvirt"))
    {
      m->paragraph (out, "With libvirt:");
      m->code (out, "sh", text_of (start, "libvirt"));
    }
  m->paragraph (out, "With QEMU alone:");
  m->code (out, "sh", text_of (start, "qemu"));
}

static void
render_timings (const Markup *m, GString *out, JsonObject *root)
{
  JsonArray *timings = array_of (root, "timings");

  if (!length_of (timings))
    return;
  m->heading (out, "Timings");
  m->table_begin (out);
  for (guint i = 0; i < length_of (timings); i++)
    {
      JsonObject *entry = json_array_get_object_element (timings, i);
      g_autofree char *seconds
          = g_strdup_printf ("%.2f s", json_object_get_double_member (entry, "seconds"));
      row (m, out, text_of (entry, "phase"), seconds);
    }
  m->table_end (out);
}

static char *
render (const Markup *m, const H2kReport *report)
{
  GString *out = g_string_new (NULL);
  JsonObject *root = report->root;
  JsonObject *error = object_of (root, "error");
  g_autofree char *status = g_strdup_printf ("Result: %s (hyper2kvm %s)", text_of (root, "status"),
                                             text_of (root, "version"));
  g_autofree char *title
      = g_strdup_printf ("Migration of %s",
                         text_of (root, "name") ? text_of (root, "name") : "a VM");

  m->begin (out, title);
  m->paragraph (out, status);
  if (error)
    m->paragraph (out, text_of (error, "message"));
  render_source (m, out, root);
  render_guest (m, out, root);
  render_filesystems (m, out, root);
  render_warnings (m, out, root);
  render_repairs (m, out, root);
  render_output (m, out, root);
  render_boot (m, out, root);
  render_start (m, out, root);
  render_timings (m, out, root);
  m->end (out);
  return g_string_free (out, FALSE);
}

char *
h2k_report_to_markdown (const H2kReport *report)
{
  return render (&markdown, report);
}

char *
h2k_report_to_html (const H2kReport *report)
{
  return render (&html, report);
}

/* log.c - GLib's log on standard error and in --log-file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"
#include "util/util.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <stdio.h>

static const struct
{
  const char *name;
  GLogLevelFlags level;
} levels[] = {
    {"error", G_LOG_LEVEL_CRITICAL},  {"warning", G_LOG_LEVEL_WARNING},
    {"message", G_LOG_LEVEL_MESSAGE}, {"info", G_LOG_LEVEL_INFO},
    {"debug", G_LOG_LEVEL_DEBUG},
};

static GLogLevelFlags most = G_LOG_LEVEL_MESSAGE;
static FILE *log_file;
static GMutex lock;

gboolean
cmd_log_set_level (const char *level)
{
  for (guint i = 0; i < G_N_ELEMENTS (levels); i++)
    if (g_str_equal (levels[i].name, level))
      {
        most = levels[i].level;
        return TRUE;
      }
  return FALSE;
}

gboolean
cmd_log_open_file (const char *path, GError **error)
{
  log_file = fopen (path, "ae");
  if (log_file)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the log file %s cannot be opened: %s", path,
               g_strerror (errno));
  return FALSE;
}

static const char *
level_name (GLogLevelFlags level)
{
  for (guint i = 0; i < G_N_ELEMENTS (levels); i++)
    if ((level & G_LOG_LEVEL_MASK) <= levels[i].level)
      return levels[i].name;
  return "debug";
}

void
cmd_log_line (const char *level, const char *message)
{
  g_autofree char *safe = h2k_escape_text (message, -1);

  if (cmd_progress_is_json ())
    {
      g_autoptr (JsonBuilder) builder = json_builder_new ();
      json_builder_begin_object (builder);
      json_builder_set_member_name (builder, "event");
      json_builder_add_string_value (builder, "log");
      json_builder_set_member_name (builder, "level");
      json_builder_add_string_value (builder, level);
      json_builder_set_member_name (builder, "message");
      json_builder_add_string_value (builder, safe);
      json_builder_end_object (builder);
      g_autoptr (JsonNode) node = json_builder_get_root (builder);
      g_autofree char *text = json_to_string (node, FALSE);
      fprintf (stderr, "%s\n", text);
      return;
    }
  cmd_progress_clear ();
  fprintf (stderr, "hyper2kvm: %s%s%s\n", g_str_equal (level, "message") ? "" : level,
           g_str_equal (level, "message") ? "" : ": ", safe);
}

static void
write_file (GLogLevelFlags level, const char *message)
{
  g_autoptr (GDateTime) now = g_date_time_new_now_utc ();
  g_autofree char *when = g_date_time_format_iso8601 (now);
  g_autofree char *safe = h2k_escape_text (message, -1);

  fprintf (log_file, "%s %s %s\n", when, level_name (level), safe);
  fflush (log_file);
}

static GLogWriterOutput
writer (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  const char *message = NULL;
  gboolean ours = FALSE;

  for (gsize i = 0; i < n; i++)
    {
      if (g_str_equal (fields[i].key, "MESSAGE"))
        message = fields[i].value;
      else if (g_str_equal (fields[i].key, "GLIB_DOMAIN"))
        ours = g_strcmp0 (fields[i].value, "hyper2kvm") == 0;
    }
  if (!message)
    return G_LOG_WRITER_HANDLED;
  g_mutex_lock (&lock);
  if (log_file)
    write_file (level, message);
  if ((level & G_LOG_LEVEL_MASK) <= (ours ? most : MIN (most, G_LOG_LEVEL_WARNING)))
    cmd_log_line (level_name (level), message);
  g_mutex_unlock (&lock);
  return G_LOG_WRITER_HANDLED;
}

void
cmd_log_start (void)
{
  g_log_set_writer_func (writer, NULL, NULL);
}

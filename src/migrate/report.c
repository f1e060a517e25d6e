/* report.c - the record of a migration as a JSON tree, and how it is saved.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/migrate.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <unistd.h>

static const char *const error_names[] = {
    [H2K_ERROR_FAILED] = "failed",
    [H2K_ERROR_USAGE] = "usage",
    [H2K_ERROR_SOURCE] = "source",
    [H2K_ERROR_FORMAT] = "format",
    [H2K_ERROR_UNSUPPORTED] = "unsupported",
    [H2K_ERROR_NO_OS] = "no-operating-system",
    [H2K_ERROR_FILESYSTEM] = "filesystem",
    [H2K_ERROR_REPAIR] = "repair",
    [H2K_ERROR_OUTPUT_EXISTS] = "output-exists",
    [H2K_ERROR_OUTPUT] = "output",
    [H2K_ERROR_NO_SPACE] = "no-space",
    [H2K_ERROR_VERIFY] = "verify",
    [H2K_ERROR_BOOT] = "boot",
    [H2K_ERROR_TOOL] = "tool",
    [H2K_ERROR_CANCELLED] = "cancelled",
};

const char *
h2k_error_name (H2kError code)
{
  return (guint)code < G_N_ELEMENTS (error_names) ? error_names[code] : "failed";
}

H2kReport *
h2k_report_new (void)
{
  H2kReport *report = g_new0 (H2kReport, 1);

  report->root = json_object_new ();
  json_object_set_string_member (report->root, "version", h2k_version ());
  json_object_set_string_member (report->root, "status", "failed");
  return report;
}

void
h2k_report_free (H2kReport *report)
{
  if (!report)
    return;
  json_object_unref (report->root);
  g_free (report);
}

JsonObject *
h2k_report_object (JsonObject *object, const char *key)
{
  if (!json_object_has_member (object, key))
    json_object_set_object_member (object, key, json_object_new ());
  return json_object_get_object_member (object, key);
}

JsonArray *
h2k_report_array (JsonObject *object, const char *key)
{
  if (!json_object_has_member (object, key))
    json_object_set_array_member (object, key, json_array_new ());
  return json_object_get_array_member (object, key);
}

/* JSON texts must be UTF-8; what comes from a guest need not be. */
static void
set_text (JsonObject *object, const char *key, const char *text)
{
  g_autofree char *safe = text ? h2k_escape_text (text, -1) : NULL;

  if (safe)
    json_object_set_string_member (object, key, safe);
}

void
h2k_report_timing (H2kReport *report, const char *phase, double seconds)
{
  JsonObject *entry = json_object_new ();

  json_object_set_string_member (entry, "phase", phase);
  json_object_set_double_member (entry, "seconds", seconds);
  json_array_add_object_element (h2k_report_array (report->root, "timings"), entry);
}

void
h2k_report_warning (H2kReport *report, const char *text)
{
  g_autofree char *safe = h2k_escape_text (text, -1);

  json_array_add_string_element (h2k_report_array (report->root, "warnings"), safe);
}

void
h2k_report_sources (H2kReport *report, GPtrArray *disks)
{
  JsonArray *array = h2k_report_array (h2k_report_object (report->root, "source"), "disks");

  for (guint i = 0; i < disks->len; i++)
    {
      H2kDisk *disk = disks->pdata[i];
      JsonObject *entry = json_object_new ();
      JsonArray *files = h2k_report_array (entry, "files");

      set_text (entry, "path", disk->name);
      set_text (entry, "format", disk->format);
      set_text (entry, "subformat", disk->subformat);
      json_object_set_int_member (entry, "size", (gint64)disk->size);
      for (guint j = 0; disk->files && j < disk->files->len; j++)
        {
          g_autofree char *safe = h2k_escape_text (disk->files->pdata[j], -1);
          json_array_add_string_element (files, safe);
        }
      json_array_add_object_element (array, entry);
    }
}

static void
report_disk (JsonObject *entry, const H2kVmDisk *disk)
{
  static const char *const buses[] = {
      [H2K_VM_BUS_IDE] = "ide",   [H2K_VM_BUS_SATA] = "sata",     [H2K_VM_BUS_SCSI] = "scsi",
      [H2K_VM_BUS_NVME] = "nvme", [H2K_VM_BUS_VIRTIO] = "virtio",
  };

  set_text (entry, "bus", buses[disk->bus]);
  set_text (entry, "controller_model", disk->controller_type);
  if (disk->bus == H2K_VM_BUS_UNKNOWN)
    return;
  json_object_set_int_member (entry, "controller", disk->controller);
  json_object_set_int_member (entry, "unit", disk->unit);
}

void
h2k_report_hardware (H2kReport *report, const H2kVm *vm)
{
  static const char *const firmwares[]
      = {[H2K_VM_FIRMWARE_BIOS] = "bios", [H2K_VM_FIRMWARE_UEFI] = "uefi"};
  JsonObject *source = h2k_report_object (report->root, "source");
  JsonArray *disks = h2k_report_array (source, "disks");
  JsonArray *nics = h2k_report_array (source, "nics");

  set_text (source, "firmware", firmwares[vm->firmware]);
  json_object_set_boolean_member (source, "secure_boot", vm->secure_boot);
  json_object_set_boolean_member (source, "tpm", vm->has_tpm);
  for (guint i = 0; i < vm->disks->len && i < json_array_get_length (disks); i++)
    report_disk (json_array_get_object_element (disks, i), vm->disks->pdata[i]);
  for (guint i = 0; i < vm->nics->len; i++)
    {
      const H2kVmNic *nic = vm->nics->pdata[i];
      JsonObject *entry = json_object_new ();

      set_text (entry, "mac", nic->mac);
      set_text (entry, "network", nic->network);
      set_text (entry, "model", nic->model);
      json_array_add_object_element (nics, entry);
    }
}

static const char *const change_names[] = {
    [H2K_CHANGE_EDIT] = "edit",     [H2K_CHANGE_CREATE] = "create",
    [H2K_CHANGE_REMOVE] = "remove", [H2K_CHANGE_APPEND] = "append",
    [H2K_CHANGE_SYMLINK] = "link",  [H2K_CHANGE_REGISTRY] = "registry",
};

static JsonObject *
change_to_json (const H2kChange *change)
{
  JsonObject *object = json_object_new ();
  g_autofree char *diff = NULL;

  json_object_set_string_member (object, "kind", change_names[change->kind]);
  set_text (object, "path", change->path);
  set_text (object, "reason", change->reason);
  if (change->summary)
    set_text (object, "summary", change->summary);
  else
    {
      g_autofree char *path
          = change->kind == H2K_CHANGE_REGISTRY ? g_strconcat ("/", change->path, NULL) : NULL;
      diff = h2k_text_diff (path ? path : change->path, change->before, change->after);
      set_text (object, "diff", diff);
    }
  return object;
}

void
h2k_report_repairs (H2kReport *report, H2kRepairContext *context, H2kRepairSet selected)
{
  JsonArray *array = h2k_report_array (report->root, "repairs");
  const H2kRepair *const *repairs = h2k_repairs_for (context->guest);
  gboolean reached = TRUE;

  for (guint r = 0; repairs[r]; r++)
    {
      const H2kRepair *repair = repairs[r];
      JsonObject *entry = json_object_new ();
      JsonArray *changes = h2k_report_array (entry, "changes");
      gboolean failed = g_strcmp0 (context->current, repair->name) == 0;

      for (guint i = 0; i < context->changes->len; i++)
        {
          const H2kChange *change = context->changes->pdata[i];
          if (g_strcmp0 (change->repair, repair->name) == 0)
            json_array_add_object_element (changes, change_to_json (change));
        }
      json_object_set_string_member (entry, "name", repair->name);
      json_object_set_string_member (entry, "why", repair->why);
      json_object_set_string_member (entry, "status",
                                     !(selected & repair->flag)        ? "not selected"
                                     : failed                          ? "failed"
                                     : !reached                        ? "not reached"
                                     : json_array_get_length (changes) ? "changed"
                                                                       : "nothing to do");
      json_array_add_object_element (array, entry);
      reached = reached && !failed;
    }
}

void
h2k_report_boot (H2kReport *report, const H2kBootResult *result)
{
  json_object_set_object_member (report->root, "boot", h2k_boot_result_to_json (result));
}

void
h2k_report_error (H2kReport *report, const GError *error)
{
  JsonObject *object = h2k_report_object (report->root, "error");
  H2kError code = error->domain == H2K_ERROR ? (H2kError)error->code : H2K_ERROR_FAILED;

  json_object_set_string_member (object, "code", h2k_error_name (code));
  set_text (object, "message", error->message);
  json_object_set_string_member (report->root, "status",
                                 code == H2K_ERROR_CANCELLED ? "cancelled" : "failed");
}

/* --- saving ----------------------------------------------------------------------------------- */

static char *
to_json (const H2kReport *report)
{
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), report->root);
  char *text = json_to_string (node, TRUE);
  char *line = g_strconcat (text, "\n", NULL);

  g_free (text);
  return line;
}

char *
h2k_report_render (const H2kReport *report, const char *format)
{
  if (g_str_equal (format, "json"))
    return to_json (report);
  if (g_str_equal (format, "md"))
    return h2k_report_to_markdown (report);
  if (g_str_equal (format, "html"))
    return h2k_report_to_html (report);
  g_return_val_if_reached (NULL);
}

const char *
h2k_report_format (const char *path)
{
  static const struct
  {
    const char *extension, *format;
  } formats[] = {{".md", "md"}, {".json", "json"}, {".html", "html"}, {".htm", "html"}};

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++)
    if (g_str_has_suffix (path, formats[i].extension))
      return formats[i].format;
  return NULL;
}

gboolean
h2k_report_save (const H2kReport *report, const char *path, GError **error)
{
  const char *format = h2k_report_format (path);
  g_autofree char *text = NULL;
  g_autoptr (GError) local = NULL;

  if (!format)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "%s: a report's name ends in .md, .json or .html", path);
      return FALSE;
    }
  text = h2k_report_render (report, format);
  if (g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &local))
    return TRUE;
  g_set_error (error, H2K_ERROR,
               g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? H2K_ERROR_NO_SPACE
                                                                         : H2K_ERROR_OUTPUT,
               "the report cannot be written: %s", local->message);
  return FALSE;
}

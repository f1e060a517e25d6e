/* migrate.c - the pipeline of one VM: a table of steps over one structure.
 *
 *   open ──► inspect ──► check ──► repair ──► recheck ──► prepare ──► copy ──► verify ──► commit
 * ──► boot
 *
 * Those up to "recheck" and the last one are in pipeline.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/file.h"
#include "fs/usage.h"
#include "migrate/keep.h"
#include "migrate/pipeline.h"
#include "migrate/state.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

typedef H2kMigration Migration;

/* PATH with SUFFIX put before its extension. */
static char *
with_suffix (const char *path, const char *suffix)
{
  const char *slash = strrchr (path, '/');
  const char *base = slash ? slash + 1 : path;
  const char *dot = strrchr (base, '.');

  if (!dot || dot == base)
    return g_strconcat (path, suffix, NULL);
  return g_strdup_printf ("%.*s%s%s", (int)(dot - path), path, suffix, dot);
}

char *
h2k_disk_output_path (const char *output, guint disk)
{
  g_autofree char *suffix = g_strdup_printf ("-disk%u", disk + 1);

  return disk == 0 ? g_strdup (output) : with_suffix (output, suffix);
}

static gboolean
usage (GError **error, const char *message)
{
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, message);
  return FALSE;
}

static gboolean
check_options (const H2kMigrateOptions *o, GError **error)
{
  if (!g_str_equal (o->output_format, "qcow2") && !g_str_equal (o->output_format, "raw"))
    return usage (error, "a migrated VM's disks are qcow2 or raw, which is what its definition for "
                         "KVM can use; `hyper2kvm convert` makes other formats of them");
  if (o->sources->len == 0 && !o->appliance)
    return usage (error, "no source disk is named: give --vmdk or --disk");
  if (o->sources->len && o->appliance)
    return usage (error, "the disks are those that the description names: name no others");
  if (!o->output && !o->dry_run)
    return usage (error, "no output is named: give --to-output FILE, or --dry-run for the plan");
  if (!g_str_equal (o->output_format, "qcow2") && !g_str_equal (o->output_format, "raw"))
    return usage (error, "the output format must be qcow2 or raw");
  if (o->output && h2k_file_is_uri (o->output))
    return usage (error, "a migrated VM's disks are files, with its definition beside them: name a "
                         "file; `hyper2kvm convert` copies a disk to an NBD export, and a file "
                         "of such a name is given as ./NAME");
  if (o->compression != H2K_COMPRESS_NONE && !g_str_equal (o->output_format, "qcow2"))
    return usage (error, "only qcow2 can be compressed: leave out --compress or the raw format");
  if (o->report && !h2k_report_format (o->report))
    return usage (error, "the report's name must end in .md, .json or .html");
  if (o->threads > 64)
    return usage (error, "more than 64 threads are not useful: give --threads 1 to 64");
  if (o->bus == H2K_BUS_IDE && o->sources->len > 4)
    return usage (error, "there is room for four disks on IDE: give --bus sata or virtio-blk");
  for (guint i = 0; i < o->macs->len; i++)
    {
      g_autofree char *mac = h2k_mac_parse (o->macs->pdata[i]);
      if (!mac)
        return usage (error, "a MAC is written as 52:54:00:12:34:56 and is no multicast address");
    }
  if (!o->inspect && o->repairs != H2K_REPAIR_AUTO && o->repairs != 0)
    return usage (error, "repairs need the inspection: leave out --no-guest-inspection");
  return h2k_migration_check_identity (o, error);
}

static gboolean
may_write (Migration *m, const char *path, const char *what, GError **error)
{
  if (!h2k_migration_check_side_file (m, path, what, error))
    return FALSE;
  if (g_file_test (path, G_FILE_TEST_IS_DIR))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                   "%s would have the name of a folder, %s: move it away or choose another name",
                   what, path);
      return FALSE;
    }
  if (m->options->force || !g_file_test (path, G_FILE_TEST_EXISTS))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
               "%s exists: move it away, or give --force to replace it", path);
  return FALSE;
}

/* A Windows whose disks will be on VirtIO meets them in a running system first. */
static gboolean
prepare_first_boot (Migration *m, GError **error)
{
  if (!h2k_migration_needs_first_boot (m))
    return TRUE;
  m->first_boot = h2k_two_phase_new (m->xml_path);
  return may_write (m, m->first_boot->xml_path, "the definition of the first boot", error)
         && may_write (m, m->first_boot->disk_path, "the small disk of the first boot", error);
}

/* Which names are taken is known with the system, and said before there is work in it. */
static gboolean
step_inspect (Migration *m, GError **error)
{
  return h2k_step_inspect (m, error) && prepare_first_boot (m, error);
}

/* Where what the outputs replace lies: disks, the first boot's files, the definition. char *. */
static GPtrArray *
output_set (const Migration *m)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);
  H2kTwoPhase *first_boot = h2k_two_phase_new (m->xml_path);

  for (guint i = 0; i < m->sources->len; i++)
    {
      g_autofree char *path = h2k_disk_output_path (m->options->output, i);
      char *real = realpath (path, NULL);
      g_ptr_array_add (paths, real ? g_strdup (real) : g_strdup (path));
      free (real);
    }
  g_ptr_array_add (paths, g_strdup (first_boot->disk_path));
  g_ptr_array_add (paths, g_strdup (first_boot->xml_path));
  g_ptr_array_add (paths, g_strdup (m->xml_path));
  h2k_two_phase_free (first_boot);
  return paths;
}

static gboolean
start_outputs (Migration *m, GError **error)
{
  const H2kMigrateOptions *o = m->options;
  g_autoptr (GPtrArray) files = h2k_migration_source_files (m), set = output_set (m);
  H2kOutputOptions oo = {
      .format = o->output_format,
      .files_only = TRUE,
      .compression = o->compression,
      .force = o->force,
      .sync = !o->fast,
      .resume = o->resume,
  };

  if (!h2k_keep_recover (set, error) || !may_write (m, m->xml_path, "the VM's definition", error)
      || (m->sums_path && !may_write (m, m->sums_path, "the file of digests", error)))
    return FALSE;
  for (guint i = 0; i < m->sources->len; i++)
    {
      g_autofree char *path = h2k_disk_output_path (o->output, i);
      H2kDisk *disk = m->sources->pdata[i];
      g_autofree char *identity = h2k_copy_identity (disk, &oo, o->sparsify, o->drop_swap);
      H2kOutput *output;

      oo.identity = identity;
      output = h2k_output_new (path, disk->size, &oo, files, error);
      if (!output)
        return FALSE;
      g_ptr_array_add (m->outputs, output);
    }
  return TRUE;
}

/* What of disk I is copied: all of it, or what is in use after the repairs. */
static H2kDisk *
used_view (Migration *m, guint i, GError **error)
{
  H2kDisk *disk = m->disks->pdata[i];
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
  H2kDisk *view;

  if (!m->options->sparsify)
    return h2k_disk_ref (disk);
  view = m->guest ? h2k_guest_used_view (m->guest, i, m->options->drop_swap, notes, error)
                  : h2k_used_view_of (m->disks, i, m->options->drop_swap, notes, error);
  for (guint n = 0; n < notes->len; n++)
    g_message ("%s", (char *)notes->pdata[n]);
  return view;
}

/* Both numbers are said, whether there is enough or not. */
static gboolean
check_space (Migration *m, guint64 needed, GError **error)
{
  JsonObject *output = h2k_report_object (m->report->root, "output");
  g_autofree char *dir = g_path_get_dirname (m->options->output);
  struct statvfs st;

  if (statvfs (dir, &st) == 0)
    {
      guint64 available = (guint64)st.f_bavail * st.f_frsize;
      g_autofree char *n = h2k_format_size (needed);
      g_autofree char *a = h2k_format_size (available);
      g_message ("space: %s%s needed, %s available in %s",
                 m->options->compression ? "at least " : "", n, a, dir);
      json_object_set_int_member (output, "needed", (gint64)needed);
      json_object_set_int_member (output, "available", (gint64)available);
    }
  return h2k_output_check_space (m->outputs->pdata[0], needed, error);
}

static gboolean
step_prepare (Migration *m, GError **error)
{
  guint64 needed = 0;

  for (guint i = 0; i < m->disks->len; i++)
    {
      H2kDisk *view = used_view (m, i, error);
      guint64 bytes;
      if (!view)
        return FALSE;
      g_ptr_array_add (m->views, view);
      if (!h2k_copy_estimate (view, &bytes, error))
        return FALSE;
      if (!h2k_output_shares (m->outputs->pdata[i], view))
        needed += bytes;
    }
  /* How well the data will compress is not known beforehand: less than a quarter is rare. */
  return check_space (m, m->options->compression ? needed / 4 : needed, error);
}

static H2kCopyOptions
copy_options (Migration *m, const char *phase)
{
  return (H2kCopyOptions){
      .threads = m->options->threads,
      .rate = m->options->rate_limit,
      .progress_phase = phase,
      .progress = m->options->progress,
      .progress_data = m->options->progress_data,
  };
}

static gboolean
step_copy (Migration *m, GError **error)
{
  H2kCopyOptions options = copy_options (m, "copy");
  JsonObject *copy = h2k_report_object (m->report->root, "copy");
  H2kCopyStats sum = {0};

  for (guint i = 0; i < m->views->len; i++)
    {
      H2kCopyStats stats = {0};

      options.overlay = m->disks->pdata[i];
      options.no_digests = !m->options->verify;
      if (!h2k_copy (m->views->pdata[i], m->outputs->pdata[i], &options, m->cancellable, &stats,
                     error))
        return FALSE;
      sum.bytes_total += stats.bytes_total;
      sum.bytes_read += stats.bytes_read;
      sum.bytes_zero += stats.bytes_zero;
      sum.bytes_skipped += stats.bytes_skipped;
      sum.bytes_resumed += stats.bytes_resumed;
      sum.bytes_shared += stats.bytes_shared;
      sum.bytes_written += stats.bytes_written;
    }
  json_object_set_int_member (copy, "bytes_total", (gint64)sum.bytes_total);
  json_object_set_int_member (copy, "bytes_read", (gint64)sum.bytes_read);
  json_object_set_int_member (copy, "bytes_zero", (gint64)sum.bytes_zero);
  json_object_set_int_member (copy, "bytes_skipped", (gint64)sum.bytes_skipped);
  if (m->options->resume)
    json_object_set_int_member (copy, "bytes_resumed", (gint64)sum.bytes_resumed);
  if (sum.bytes_shared)
    json_object_set_int_member (copy, "bytes_shared", (gint64)sum.bytes_shared);
  json_object_set_int_member (copy, "bytes_written", (gint64)sum.bytes_written);
  return TRUE;
}

/* The finished files are opened afresh and must hold the same system. */
static gboolean
inspect_outputs (Migration *m, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  H2kGuestOptions options = h2k_migration_guest_options (m);
  g_autoptr (H2kGuest) guest = NULL;

  for (guint i = 0; i < m->outputs->len; i++)
    {
      H2kDisk *disk = h2k_disk_open (h2k_output_temp_path (m->outputs->pdata[i]),
                                     m->options->output_format, error);
      if (!disk)
        return FALSE;
      g_ptr_array_add (disks, disk);
    }
  guest = h2k_guest_open (disks, &options, error);
  if (!guest)
    return FALSE;
  if (g_strcmp0 (guest->pretty_name, m->guest->pretty_name) == 0
      && g_strcmp0 (guest->root->id.uuid, m->guest->root->id.uuid) == 0
      && guest->kernels->len == m->guest->kernels->len)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "the output was opened afresh and does not hold the system that was repaired "
               "(%s instead of %s): this is a defect of hyper2kvm, nothing was kept",
               guest->pretty_name, m->guest->pretty_name);
  return FALSE;
}

/* Wait for the comparison with the manifest, which began when the source was opened. */
static gboolean
finish_digests (Migration *m, GError **error)
{
  JsonObject *output = h2k_report_object (m->report->root, "output");

  if (!m->digests)
    return TRUE;
  g_thread_join (g_steal_pointer (&m->digests));
  json_object_set_boolean_member (output, "manifest_verified", m->digest_error == NULL);
  if (m->digest_error)
    g_propagate_error (error, g_steal_pointer (&m->digest_error));
  else
    g_message ("manifest: every file is what it says");
  return json_object_get_boolean_member (output, "manifest_verified");
}

static gboolean
step_verify (Migration *m, GError **error)
{
  H2kCopyOptions options = copy_options (m, "verify");
  JsonObject *output = h2k_report_object (m->report->root, "output");

  if (!finish_digests (m, error))
    return FALSE;
  for (guint i = 0; i < m->sources->len; i++)
    if (!h2k_source_check (m->sources->pdata[i], m->states->pdata[i], error))
      return FALSE;
  for (guint i = 0; m->options->verify && i < m->views->len; i++)
    if (!h2k_verify (m->outputs->pdata[i], &options, m->cancellable, error))
      return FALSE;
  if (m->guest && !inspect_outputs (m, error))
    {
      g_prefix_error (error, "checking the output: ");
      return FALSE;
    }
  json_object_set_boolean_member (output, "verified", m->options->verify);
  return TRUE;
}

static void
define_domain (Migration *m)
{
  g_autoptr (GPtrArray) warnings = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  H2kDefinition definition = {
      .options = m->options,
      .name = m->name,
      .vm = m->appliance ? m->appliance->vm : NULL,
      .guest = m->guest,
      .repairs = m->repairs,
      .macs = m->macs,
      .sources = m->sources,
      .disks = disks,
  };

  for (guint i = 0; i < m->outputs->len; i++)
    g_ptr_array_add (disks, (char *)h2k_output_path (m->outputs->pdata[i]));
  m->domain = h2k_define (&definition, warnings);
  h2k_migration_take_warnings (m, warnings);
}

/* How to start the VM with libvirt, for people. The caller's. */
static char *
libvirt_commands (Migration *m)
{
  g_autofree char *xml = g_canonicalize_filename (m->xml_path, NULL);
  g_autofree char *quoted_xml = g_shell_quote (xml);
  g_autofree char *name = g_shell_quote (m->domain->name);
  g_autofree char *first = NULL, *quoted_first = NULL;

  if (!m->first_boot)
    return g_strdup_printf ("virsh define %s\nvirsh start --console %s", quoted_xml, name);
  first = g_canonicalize_filename (m->first_boot->xml_path, NULL);
  quoted_first = g_shell_quote (first);
  return g_strdup_printf ("# once, until the console says H2K-FIRSTBOOT-DONE:\n"
                          "virsh define %s\nvirsh start --console %s\nvirsh shutdown %s\n"
                          "# from then on:\nvirsh define %s\nvirsh start %s",
                          quoted_first, name, name, quoted_xml, name);
}

static void
report_outputs (Migration *m)
{
  JsonObject *output = h2k_report_object (m->report->root, "output");
  JsonObject *start = h2k_report_object (m->report->root, "start");
  JsonArray *disks = h2k_report_array (output, "disks");
  g_autofree char *qemu = h2k_domain_qemu_command (m->domain);
  g_autofree char *xml = g_canonicalize_filename (m->xml_path, NULL);
  g_autofree char *libvirt = libvirt_commands (m);

  for (guint i = 0; i < m->outputs->len; i++)
    {
      H2kDomainDisk *disk = m->domain->disks->pdata[i];
      JsonObject *entry = json_object_new ();
      struct stat st;

      json_object_set_string_member (entry, "path", disk->path);
      json_object_set_string_member (entry, "format", disk->format);
      json_object_set_int_member (entry, "virtual_size",
                                  (gint64)((H2kDisk *)m->sources->pdata[i])->size);
      if (stat (disk->path, &st) == 0)
        json_object_set_int_member (entry, "file_size", (gint64)st.st_blocks * 512);
      json_array_add_object_element (disks, entry);
    }
  json_object_set_string_member (output, "domain_xml", xml);
  if (m->first_boot)
    {
      g_autofree char *first = g_canonicalize_filename (m->first_boot->xml_path, NULL);
      g_autofree char *disk = g_canonicalize_filename (m->first_boot->disk_path, NULL);
      json_object_set_string_member (output, "bootstrap_xml", first);
      json_object_set_string_member (output, "bootstrap_disk", disk);
      json_object_set_string_member (
          output, "bootstrap_reason",
          "Windows binds and trusts the VirtIO drivers when it meets their devices while it runs "
          "from a controller that it knows; after that boot it starts from VirtIO");
    }
  json_object_set_string_member (start, "libvirt", libvirt);
  json_object_set_string_member (start, "qemu", qemu);
}

/* With --force, what will be replaced stays until all that replaces it stands. */
static gboolean
keep_previous (Migration *m, H2kKeep *keep, GError **error)
{
  g_autoptr (GPtrArray) set = output_set (m);
  guint n_disks = m->outputs->len;

  for (guint i = 0; m->options->force && i < set->len; i++)
    {
      gboolean is_first_boots = i >= n_disks && i + 1 < set->len;
      if ((m->first_boot || !is_first_boots) && !h2k_keep_file (keep, set->pdata[i], error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
write_definition (Migration *m, GError **error)
{
  g_autofree char *xml = h2k_domain_to_xml (m->domain);
  g_autoptr (GError) local = NULL;

  if (g_file_set_contents_full (m->xml_path, xml, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &local))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the VM's definition cannot be written: %s",
               local->message);
  return FALSE;
}

/* Names already given are taken back when a later one fails; the definition comes last, so that
 * where it stands, everything stands. */
static gboolean
step_commit (Migration *m, GError **error)
{
  g_autoptr (H2kKeep) keep = h2k_keep_new ();
  guint done = 0;

  if (h2k_is_cancelled (m->cancellable, error) || !keep_previous (m, keep, error))
    return FALSE;
  define_domain (m);
  while (done < m->outputs->len && h2k_output_commit (m->outputs->pdata[done], error))
    done++;
  if (done == m->outputs->len
      && (!m->first_boot
          || h2k_two_phase_write (m->first_boot, m->domain, h2k_migration_driver_iso (m), error))
      && write_definition (m, error))
    {
      m->committed = TRUE;
      h2k_keep_discard (keep);
      report_outputs (m);
      return TRUE;
    }
  if (m->first_boot)
    h2k_two_phase_undo (m->first_boot);
  for (guint i = 0; i < done; i++)
    if (!h2k_keep_has (keep, h2k_output_path (m->outputs->pdata[i])))
      g_unlink (h2k_output_path (m->outputs->pdata[i]));
  return FALSE;
}

/* The digests of the disks and of the definition, beside them. */
static gboolean
step_checksum (Migration *m, GError **error)
{
  H2kCopyOptions options = copy_options (m, "checksum");
  JsonObject *output = h2k_report_object (m->report->root, "output");
  g_autoptr (GPtrArray) paths = g_ptr_array_new ();

  if (!m->sums_path)
    return TRUE;
  for (guint i = 0; i < m->outputs->len; i++)
    g_ptr_array_add (paths, (char *)h2k_output_path (m->outputs->pdata[i]));
  g_ptr_array_add (paths, m->xml_path);
  if (!h2k_write_checksums (paths, m->sums_path, !m->options->fast, &options, m->cancellable,
                            error))
    {
      g_prefix_error (error,
                      "%s is complete, but its digests are not written: ", m->options->output);
      return FALSE;
    }
  json_object_set_string_member (output, "checksums", m->sums_path);
  return TRUE;
}

static const H2kStep steps[] = {
    {"open", h2k_step_open, FALSE},     {"output", start_outputs, TRUE},
    {"inspect", step_inspect, FALSE},   {"check", h2k_step_check, FALSE},
    {"repair", h2k_step_repair, FALSE}, {"recheck", h2k_step_recheck, FALSE},
    {"prepare", step_prepare, TRUE},    {"copy", step_copy, TRUE},
    {"verify", step_verify, TRUE},      {"commit", step_commit, TRUE},
    {"checksum", step_checksum, TRUE},  {"boot", h2k_step_boot, TRUE},
};

gboolean
h2k_migrate_vm (const H2kMigrateOptions *options, GCancellable *cancellable, H2kReport **report,
                GError **error)
{
  g_return_val_if_fail (options != NULL, FALSE);
  return check_options (options, error)
         && h2k_migration_run (options, NULL, steps, G_N_ELEMENTS (steps), cancellable, report,
                               error);
}

/* pipeline.c - the steps that every run has, and how steps are run.
 *
 * The sources are below copy-on-write overlays, what is made is under temporary names until it is
 * committed, so a step that fails needs no undoing: everything goes away with the structure.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/pipeline.h"
#include "disk/file.h"
#include "migrate/state.h"
#include "repair/hostname.h"
#include "repair/windows/session.h"

#include <sys/stat.h>
#include <unistd.h>

#define OVERLAY_MEMORY (G_GUINT64_CONSTANT (64) << 20)

static void
migration_clear (H2kMigration *m)
{
  if (m->digests)
    {
      g_cancellable_cancel (m->stop_digests);
      g_thread_join (m->digests);
    }
  g_clear_error (&m->digest_error);
  g_clear_object (&m->stop_digests);
  g_clear_pointer (&m->macs, g_ptr_array_unref);
  g_clear_pointer (&m->keys, h2k_keys_free);
  g_clear_pointer (&m->outputs, g_ptr_array_unref);
  g_clear_pointer (&m->views, g_ptr_array_unref);
  g_clear_pointer (&m->repairs, h2k_repair_context_free);
  g_clear_pointer (&m->guest, h2k_guest_free);
  g_clear_pointer (&m->disks, g_ptr_array_unref);
  g_clear_pointer (&m->sources, g_ptr_array_unref);
  g_clear_pointer (&m->paths, g_ptr_array_unref);
  g_clear_pointer (&m->states, g_ptr_array_unref);
  g_clear_pointer (&m->appliance, h2k_appliance_free);
  g_clear_pointer (&m->domain, h2k_domain_free);
  g_clear_pointer (&m->first_boot, h2k_two_phase_free);
  g_clear_pointer (&m->name, g_free);
  g_clear_pointer (&m->xml_path, g_free);
  g_clear_pointer (&m->sums_path, g_free);
  g_clear_pointer (&m->mac_seed, g_free);
  g_clear_pointer (&m->hostname, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kMigration, migration_clear)

/* What PATH, or the path in a URI, ends with. */
static char *
base_name (const char *path)
{
  g_autoptr (GUri) uri
      = h2k_file_is_uri (path) ? g_uri_parse (path, G_URI_FLAGS_NON_DNS, NULL) : NULL;
  g_autofree char *base = g_path_get_basename (uri ? g_uri_get_path (uri) : path);

  if (h2k_file_is_uri (path) && (!uri || strchr (base, '/') || g_str_equal (base, ".")))
    return g_strdup ("disk");
  return g_steal_pointer (&base);
}

static void
choose_names (H2kMigration *m)
{
  const H2kMigrateOptions *o = m->options;
  g_autofree char *base = base_name (o->output      ? o->output
                                     : o->appliance ? o->appliance
                                                    : o->sources->pdata[0]);
  g_autofree char *stem = NULL;
  char *dot = strrchr (base, '.');

  if (dot && dot != base)
    *dot = '\0';
  m->name = g_strdup (m->options->name ? m->options->name : base);
  json_object_set_string_member (m->report->root, "name", m->name);
  if (!m->options->output)
    return;
  stem = g_path_get_dirname (m->options->output);
  g_autofree char *file = g_strconcat (base, ".xml", NULL);
  m->xml_path = g_build_filename (stem, file, NULL);
  if (m->options->checksum)
    {
      g_autofree char *sums = g_strconcat (base, ".sha256", NULL);
      m->sums_path = g_build_filename (stem, sums, NULL);
    }
}

static void
report_progress (H2kMigration *m, const char *phase, guint64 done, guint64 total)
{
  if (m->options->progress)
    m->options->progress (phase, done, total, m->options->progress_data);
}

GPtrArray *
h2k_migration_source_files (H2kMigration *m)
{
  GPtrArray *files = g_ptr_array_new ();

  for (guint i = 0; i < m->sources->len; i++)
    for (H2kDisk *disk = m->sources->pdata[i]; disk; disk = disk->backing)
      for (guint j = 0; disk->files && j < disk->files->len; j++)
        g_ptr_array_add (files, disk->files->pdata[j]);
  return files;
}

/* The small files beside the disks must not take the place of a source or of a disk either. */
gboolean
h2k_migration_check_side_file (H2kMigration *m, const char *path, const char *what, GError **error)
{
  g_autoptr (GPtrArray) files = h2k_migration_source_files (m);
  g_autofree char *mine = g_canonicalize_filename (path, NULL);
  g_autofree char *folder = g_path_get_dirname (mine);
  struct stat own, other;
  gboolean exists = stat (path, &own) == 0;

  for (guint i = 0; exists && i < files->len; i++)
    if (stat (files->pdata[i], &other) == 0 && own.st_dev == other.st_dev
        && own.st_ino == other.st_ino)
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                     "%s would replace the source %s: choose another name", what, path);
        return FALSE;
      }
  if (access (folder, W_OK | X_OK) != 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "%s cannot be written to %s: %s", what,
                   folder, g_strerror (errno));
      return FALSE;
    }
  for (guint i = 0; m->options->output && i < m->sources->len; i++)
    {
      g_autofree char *disk = h2k_disk_output_path (m->options->output, i);
      g_autofree char *theirs = g_canonicalize_filename (disk, NULL);
      if (!g_str_equal (mine, theirs))
        continue;
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "%s would have the name of the disk, %s: choose another name", what, path);
      return FALSE;
    }
  return TRUE;
}

static void
add_source (H2kMigration *m, H2kDisk *disk)
{
  g_autofree char *size = h2k_format_size (disk->size);

  g_ptr_array_add (m->sources, h2k_disk_ref (disk));
  g_ptr_array_add (m->states, h2k_source_state (disk));
  g_ptr_array_add (m->disks, h2k_overlay_new (disk, m->options->temp_dir,
                                              m->in_memory ? G_MAXUINT64 : OVERLAY_MEMORY));
  g_message ("source: %s, %s%s%s, %s", disk->name, disk->format, disk->subformat ? " " : "",
             disk->subformat ? disk->subformat : "", size);
  if (!m->options->flatten)
    h2k_note_chain (disk);
}

static gpointer
compare_digests (gpointer data)
{
  H2kMigration *m = data;

  h2k_appliance_verify (m->appliance, m->stop_digests, &m->digest_error);
  return NULL;
}

void
h2k_migration_warn (H2kMigration *m, const char *text)
{
  g_warning ("%s", text);
  h2k_report_warning (m->report, text);
}

/* The description's own words, where the options say nothing. */
static void
take_description (H2kMigration *m)
{
  const H2kVm *vm = m->appliance->vm;

  if (!m->options->name && vm->name && *vm->name && !strpbrk (vm->name, "/\n")
      && g_utf8_validate (vm->name, -1, NULL))
    {
      g_free (m->name);
      m->name = g_strdup (vm->name);
      json_object_set_string_member (m->report->root, "name", m->name);
    }
  for (guint i = 0; m->macs->len == 0 && i < vm->nics->len; i++)
    if (!((H2kVmNic *)vm->nics->pdata[i])->mac)
      break;
    else if (i + 1 == vm->nics->len)
      for (guint n = 0; n < vm->nics->len; n++)
        g_ptr_array_add (m->macs, g_strdup (((H2kVmNic *)vm->nics->pdata[n])->mac));
  if (vm->has_tpm)
    h2k_migration_warn (
        m, "the VM had a TPM; the new one is empty, so that what is sealed to the old one "
           "(BitLocker, LUKS with a TPM) asks for its recovery key once");
  for (guint i = 0; i < m->appliance->unchecked->len; i++)
    {
      g_autofree char *file = h2k_escape_text (m->appliance->unchecked->pdata[i], -1);
      g_autofree char *text
          = g_strdup_printf ("the manifest has no digest of %s: whether it is whole cannot be said",
                             file);
      h2k_migration_warn (m, text);
    }
}

static gboolean
open_appliance (H2kMigration *m, GError **error)
{
  m->appliance = h2k_appliance_open (m->options->appliance, m->options->appliance_kind, error);
  if (!m->appliance)
    return FALSE;
  for (guint i = 0; i < m->appliance->disks->len; i++)
    add_source (m, m->appliance->disks->pdata[i]);
  take_description (m);
  if (m->appliance->manifest && !m->options->dry_run)
    {
      m->stop_digests = g_cancellable_new ();
      m->digests = g_thread_new ("h2k-digests", compare_digests, m);
    }
  return TRUE;
}

gboolean
h2k_step_open (H2kMigration *m, GError **error)
{
  for (guint i = 0; i < m->options->macs->len; i++)
    g_ptr_array_add (m->macs, h2k_mac_parse (m->options->macs->pdata[i]));
  m->keys = h2k_keys_parse (m->options->keys, error);
  if (!m->keys || (m->options->appliance && !open_appliance (m, error)))
    return FALSE;
  for (guint i = 0; i < m->paths->len; i++)
    {
      g_autoptr (H2kDisk) disk
          = h2k_disk_open (m->paths->pdata[i], m->options->source_format, error);

      if (!disk)
        return FALSE;
      add_source (m, disk);
    }
  h2k_report_sources (m->report, m->sources);
  if (m->appliance)
    h2k_report_hardware (m->report, m->appliance->vm);
  m->may_report = m->options->report
                  && h2k_migration_check_side_file (m, m->options->report, "the report", error);
  return m->may_report || !m->options->report;
}

void
h2k_migration_take_warnings (H2kMigration *m, GPtrArray *warnings)
{
  for (guint i = 0; i < warnings->len; i++)
    h2k_migration_warn (m, warnings->pdata[i]);
}

H2kGuestOptions
h2k_migration_guest_options (const H2kMigration *m)
{
  return (H2kGuestOptions){.keys = m->keys,
                           .backend = m->options->backend,
                           .kvm_works = h2k_kvm_works,
                           .force_dirty = m->options->force_dirty,
                           .alone = m->cloning != NULL,
                           .temp_dir = m->options->temp_dir};
}

/* What to do about a guest that cannot be looked into or repaired. */
static gboolean
advise (H2kMigration *m, GError **error)
{
  const GError *e = error ? *error : NULL;
  const H2kWindows *w = m->guest ? m->guest->windows : NULL;
  const char *force
      = w && w->not_unmounted && !w->hibernated && !m->options->force_dirty
            ? "; --force-dirty changes it all the same, and what its log holds is lost"
            : "";

  if (e && e->domain == H2K_ERROR
      && (e->code == H2K_ERROR_UNSUPPORTED || e->code == H2K_ERROR_NO_OS))
    {
      g_autoptr (GError) plain = g_steal_pointer (error);
      g_set_error (error, H2K_ERROR, plain->code, "%s%s; %s", plain->message, force,
                   m->cloning ? "--no-repair makes the clone without looking inside"
                              : "--no-guest-inspection copies the disks without repairs");
    }
  return FALSE;
}

/* Whether the VM's disks stay where every system has drivers for them. */
static gboolean
has_known_disks (const H2kMigration *m)
{
  return m->options->bus == H2K_BUS_SATA || m->options->bus == H2K_BUS_IDE;
}

/* Controllers that every system has drivers for have disks with sectors of 512 bytes only. */
static gboolean
has_large_sectors (const H2kMigration *m)
{
  for (guint i = 0; i < m->guest->tables->len; i++)
    if (((const H2kTable *)m->guest->tables->pdata[i])->sector_size > 512)
      return TRUE;
  return FALSE;
}

gboolean
h2k_migration_needs_first_boot (const H2kMigration *m)
{
  return m->guest && m->guest->windows && m->options->two_phase_boot && !has_known_disks (m)
         && !has_large_sectors (m);
}

gboolean
h2k_step_inspect (H2kMigration *m, GError **error)
{
  H2kGuestOptions options = h2k_migration_guest_options (m);
  g_autofree char *json = NULL;
  g_autoptr (JsonNode) node = NULL;

  if (!m->options->inspect)
    return TRUE;
  m->guest = h2k_guest_open (m->disks, &options, error);
  if (!m->guest)
    return advise (m, error);
  if (m->options->require_windows && !m->guest->windows)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "--windows: the guest is %s, no Windows: leave it out", m->guest->pretty_name);
      return FALSE;
    }
  json = h2k_guest_to_json (m->guest);
  node = json_from_string (json, error);
  if (!node)
    return FALSE;
  json_object_set_member (m->report->root, "guest", g_steal_pointer (&node));
  if (m->guest->windows)
    g_message ("guest: %s (%s), %s, %s, %s", m->guest->pretty_name, m->guest->version,
               m->guest->arch, h2k_firmware_name (m->guest->firmware),
               h2k_bootloader_name (m->guest->bootloader));
  else
    g_message ("guest: %s, %s, %s, %s, %s, %u kernel%s", m->guest->pretty_name, m->guest->arch,
               h2k_firmware_name (m->guest->firmware), h2k_bootloader_name (m->guest->bootloader),
               h2k_initramfs_name (m->guest->initramfs), m->guest->kernels->len,
               m->guest->kernels->len == 1 ? "" : "s");
  h2k_migration_take_warnings (m, m->guest->warnings);
  if (m->guest->windows && m->options->two_phase_boot && !has_known_disks (m)
      && has_large_sectors (m))
    h2k_migration_warn (m,
                        "the disks' sectors are larger than those that SATA has, so there can be "
                        "no first boot from it: Windows starts from VirtIO at once");
  return TRUE;
}

static H2kFilesystemChecks
filesystem_checks (H2kMigration *m)
{
  return (H2kFilesystemChecks){
      .guest = m->guest,
      .report = m->report,
      .progress = m->options->progress,
      .progress_data = m->options->progress_data,
      .cancellable = m->cancellable,
  };
}

gboolean
h2k_step_check (H2kMigration *m, GError **error)
{
  H2kFilesystemChecks checks = filesystem_checks (m);

  if (!m->guest)
    return TRUE;
  if (m->options->check_filesystems)
    return h2k_check_filesystems_before (&checks, error);
  h2k_skip_filesystem_checks (&checks);
  h2k_migration_warn (m, "the guest's filesystems are not checked, as it was asked for");
  return TRUE;
}

/* A guest that nothing was changed in is as it was. */
gboolean
h2k_step_recheck (H2kMigration *m, GError **error)
{
  H2kFilesystemChecks checks = filesystem_checks (m);

  return !m->guest || !m->options->check_filesystems || !m->repairs->changes->len
         || h2k_check_filesystems_after (&checks, error);
}

static guint64
overlay_bytes (H2kMigration *m)
{
  guint64 bytes = 0;

  for (guint i = 0; i < m->disks->len; i++)
    bytes += h2k_overlay_bytes (m->disks->pdata[i]);
  return bytes;
}

gboolean
h2k_migration_check_identity (const H2kMigrateOptions *options, GError **error)
{
  const char *problem = options->hostname ? h2k_hostname_problem (options->hostname) : NULL;

  if (problem)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "\"%s\" is no host's name: it %s",
                 options->hostname, problem);
  else if ((options->hostname || options->new_identity) && !options->inspect)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "a new identity or name needs a look inside: leave out what forbids that");
  else
    return TRUE;
  return FALSE;
}

gboolean
h2k_step_repair (H2kMigration *m, GError **error)
{
  const char *hostname = m->hostname ? m->hostname : m->options->hostname;
  gboolean identity = hostname || m->options->new_identity;
  H2kRepairSet set = m->options->repairs | (identity ? H2K_REPAIR_IDENTITY : 0);
  H2kRepairOptions options = {
      .mac_seed = m->mac_seed,
      .hostname = hostname,
      .hostname_made = m->hostname != NULL,
      .new_ids = m->options->new_identity,
      .virtio_win = m->options->virtio_win,
      .virtio_config = m->options->virtio_config,
      .guest_agent = m->options->guest_agent,
      .first_boot = m->options->first_boot,
      .temp_dir = m->options->temp_dir,
      .known_disks = has_known_disks (m),
  };
  H2kFilesystemChecks checks = filesystem_checks (m);
  g_autofree char *size = NULL;
  gboolean ok;

  if (!m->guest)
    return TRUE;
  m->repairs = h2k_repair_context_new (m->guest, &options);
  for (guint i = 0; i < m->macs->len; i++)
    g_ptr_array_add (m->repairs->macs, g_strdup (m->macs->pdata[i]));
  ok = h2k_repair_run (m->repairs, set, error);
  ok = h2k_check_filesystems_changed (&checks, ok, error);

  h2k_report_repairs (m->report, m->repairs, set);
  h2k_migration_take_warnings (m, m->repairs->warnings);
  json_object_set_int_member (m->report->root, "overlay_bytes", (gint64)overlay_bytes (m));
  size = h2k_format_size (overlay_bytes (m));
  if (ok)
    g_message ("repair: %u change%s, %s in the overlay", m->repairs->changes->len,
               m->repairs->changes->len == 1 ? "" : "s", size);
  return ok ? TRUE : advise (m, error);
}

/* The ISO that the drivers came from; NULL: they are in a folder, or none were needed. */
const char *
h2k_migration_driver_iso (H2kMigration *m)
{
  H2kDriverSource *source = m->repairs && m->repairs->windows && m->options->repairs
                                ? h2k_windows_driver_source (m->repairs, NULL)
                                : NULL;

  return source ? h2k_driver_source_path (source) : NULL;
}

/* A guest that configures a NIC and comes up without an address has not been migrated. */
static gboolean
check_network (H2kMigration *m, const H2kBootResult *result, GError **error)
{
  if (!m->guest || !m->guest->network || !m->repairs || m->repairs->nics->len == 0
      || g_strcmp0 (result->network, "none") != 0)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_BOOT,
               "the guest started, but its network did not come up: see the console in the report; "
               "if its address comes from a server that is not here, give --no-test");
  return FALSE;
}

gboolean
h2k_step_boot (H2kMigration *m, GError **error)
{
  g_autoptr (H2kBootOptions) options = NULL;
  g_autoptr (H2kBootResult) result = NULL;
  gboolean ok;

  if (m->options->boot_test == H2K_BOOT_TEST_NONE)
    return TRUE;
  options = h2k_boot_options_new ();
  for (guint i = 0; i < m->options->keys->len; i++)
    g_ptr_array_add (options->keys, g_strdup (m->options->keys->pdata[i]));
  options->timeout = m->options->boot_timeout;
  options->headless = m->options->headless;
  options->temp_dir = g_strdup (m->options->temp_dir);
  options->evidence = m->guest ? H2K_EVIDENCE_AUTO : H2K_EVIDENCE_LOGIN;
  options->progress = m->options->progress;
  options->progress_data = m->options->progress_data;
  ok = h2k_boot_domain (m->first_boot ? m->first_boot->domain : m->domain, options, m->cancellable,
                        &result, error);
  if (result)
    h2k_report_boot (m->report, result);
  if (!ok || !check_network (m, result, error))
    {
      g_prefix_error (error, "%s is complete, but its boot test did not pass: ",
                      m->options->output ? m->options->output : m->name);
      return FALSE;
    }
  g_message ("boot: passed after %.1f s under %s: %s%s%s", result->seconds, result->accel,
             result->evidence ? result->evidence : "proof seen",
             result->network ? "; network " : "", result->network ? result->network : "");
  return TRUE;
}

static gboolean
run_steps (H2kMigration *m, const H2kStep *steps, guint n, GError **error)
{
  for (guint i = 0; i < n; i++)
    {
      g_autoptr (GTimer) timer = g_timer_new ();
      gboolean ok;

      if (m->options->dry_run && steps[i].writes)
        continue;
      /* What stands under its final name is not taken back. */
      if (!m->committed && h2k_is_cancelled (m->cancellable, error))
        return FALSE;
      report_progress (m, steps[i].phase, 0, 0);
      ok = steps[i].run (m, error);
      h2k_report_timing (m->report, steps[i].phase, g_timer_elapsed (timer, NULL));
      g_info ("%s took %.2f s", steps[i].phase, g_timer_elapsed (timer, NULL));
      if (!ok)
        return FALSE;
    }
  return TRUE;
}

/* The report of a run that failed is as useful as any; it must not hide why the run failed. */
static gboolean
save_report (H2kMigration *m, gboolean ok, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (!m->may_report)
    return ok;
  if (h2k_report_save (m->report, m->options->report, &local))
    return ok;
  if (!ok)
    {
      g_warning ("%s", local->message);
      return FALSE;
    }
  g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

static gpointer
copy_text (gconstpointer text, gpointer data)
{
  return g_strdup (text);
}

gboolean
h2k_migration_run (const H2kMigrateOptions *options, H2kCloning *cloning, const H2kStep *steps,
                   guint n_steps, GCancellable *cancellable, H2kReport **report, GError **error)
{
  g_autoptr (H2kReport) record = NULL;
  g_autoptr (GError) local = NULL;
  g_auto (H2kMigration) m = {.options = options, .cloning = cloning, .cancellable = cancellable};
  gboolean ok;

  record = m.report = h2k_report_new ();
  m.macs = g_ptr_array_new_with_free_func (g_free);
  m.paths = g_ptr_array_copy (options->sources, copy_text, NULL);
  g_ptr_array_set_free_func (m.paths, g_free);
  m.states = g_ptr_array_new_with_free_func (g_free);
  m.sources = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  m.disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  m.views = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  m.outputs = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_output_free);
  choose_names (&m);

  /* For what has no argument for it: reads from servers. */
  if (cancellable)
    g_cancellable_push_current (cancellable);
  ok = run_steps (&m, steps, n_steps, &local);
  if (cancellable)
    g_cancellable_pop_current (cancellable);
  if (!ok && !m.committed && g_error_matches (local, H2K_ERROR, H2K_ERROR_CANCELLED))
    {
      g_clear_error (&local);
      g_set_error_literal (&local, H2K_ERROR, H2K_ERROR_CANCELLED,
                           options->resume
                               ? "interrupted: the source is as it was; the same command goes on "
                                 "where this one stopped"
                               : "interrupted: the source is as it was, no output was kept");
    }
  if (ok)
    json_object_set_string_member (record->root, "status", options->dry_run ? "planned" : "ok");
  else
    h2k_report_error (record, local);
  if (local)
    g_propagate_error (error, g_steal_pointer (&local));
  ok = save_report (&m, ok, error);
  if (report && m.sources->len)
    *report = g_steal_pointer (&record);
  return ok;
}

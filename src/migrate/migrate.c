/* migrate.c - the pipeline of one VM: a table of steps over one structure.
 *
 *   open ──► inspect ──► check ──► repair ──► recheck ──► prepare ──► copy ──► verify ──► commit
 * ──► boot
 *
 * The sources are below copy-on-write overlays, the outputs under temporary names until commit, so
 * a step that fails needs no undoing: everything that was made goes away with the structure.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/file.h"
#include "fs/usage.h"
#include "migrate/keep.h"
#include "migrate/migrate.h"
#include "migrate/pipeline.h"
#include "migrate/state.h"
#include "migrate/two-phase.h"
#include "repair/windows/session.h"
#include "source/appliance.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OVERLAY_MEMORY (G_GUINT64_CONSTANT (64) << 20)

typedef H2kMigration Migration;

static void
migration_clear (Migration *m)
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
  g_clear_pointer (&m->states, g_ptr_array_unref);
  g_clear_pointer (&m->appliance, h2k_appliance_free);
  g_clear_pointer (&m->domain, h2k_domain_free);
  g_clear_pointer (&m->first_boot, h2k_two_phase_free);
  g_clear_pointer (&m->name, g_free);
  g_clear_pointer (&m->xml_path, g_free);
  g_clear_pointer (&m->sums_path, g_free);
  g_clear_pointer (&m->mac_seed, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Migration, migration_clear)

/* --- names ------------------------------------------------------------------------------------ */

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
choose_names (Migration *m)
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

/* --- checks before anything is opened --------------------------------------------------------- */

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
  return TRUE;
}

/* --- steps ------------------------------------------------------------------------------------ */

static void
report_progress (Migration *m, const char *phase, guint64 done, guint64 total)
{
  if (m->options->progress)
    m->options->progress (phase, done, total, m->options->progress_data);
}

/* Every file of this host that is read; an output must be none of them. */
static GPtrArray *
source_files (Migration *m)
{
  GPtrArray *files = g_ptr_array_new ();

  for (guint i = 0; i < m->sources->len; i++)
    for (H2kDisk *disk = m->sources->pdata[i]; disk; disk = disk->backing)
      for (guint j = 0; disk->files && j < disk->files->len; j++)
        g_ptr_array_add (files, disk->files->pdata[j]);
  return files;
}

/* The small files beside the disks must not take the place of a source or of a disk either. */
static gboolean
check_side_file (Migration *m, const char *path, const char *what, GError **error)
{
  g_autoptr (GPtrArray) files = source_files (m);
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
add_source (Migration *m, H2kDisk *disk)
{
  g_autofree char *size = h2k_format_size (disk->size);

  g_ptr_array_add (m->sources, h2k_disk_ref (disk));
  g_ptr_array_add (m->states, h2k_source_state (disk));
  g_ptr_array_add (m->disks, h2k_overlay_new (disk, m->options->temp_dir, OVERLAY_MEMORY));
  g_message ("source: %s, %s%s%s, %s", disk->name, disk->format, disk->subformat ? " " : "",
             disk->subformat ? disk->subformat : "", size);
  if (!m->options->flatten)
    h2k_note_chain (disk);
}

static gpointer
compare_digests (gpointer data)
{
  Migration *m = data;

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
take_description (Migration *m)
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
open_appliance (Migration *m, GError **error)
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
  for (guint i = 0; i < m->options->sources->len; i++)
    {
      g_autoptr (H2kDisk) disk
          = h2k_disk_open (m->options->sources->pdata[i], m->options->source_format, error);

      if (!disk)
        return FALSE;
      add_source (m, disk);
    }
  h2k_report_sources (m->report, m->sources);
  if (m->appliance)
    h2k_report_hardware (m->report, m->appliance->vm);
  m->may_report
      = m->options->report && check_side_file (m, m->options->report, "the report", error);
  return m->may_report || !m->options->report;
}

void
h2k_migration_take_warnings (H2kMigration *m, GPtrArray *warnings)
{
  for (guint i = 0; i < warnings->len; i++)
    h2k_migration_warn (m, warnings->pdata[i]);
}

static H2kGuestOptions
guest_options (const Migration *m)
{
  return (H2kGuestOptions){.keys = m->keys,
                           .backend = m->options->backend,
                           .kvm_works = h2k_kvm_works,
                           .force_dirty = m->options->force_dirty,
                           .temp_dir = m->options->temp_dir};
}

/* What to do about a guest that cannot be looked into or repaired. */
static gboolean
advise (Migration *m, GError **error)
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
      g_set_error (error, H2K_ERROR, plain->code,
                   "%s%s; --no-guest-inspection copies the disks without repairs", plain->message,
                   force);
    }
  return FALSE;
}

static gboolean
may_write (Migration *m, const char *path, const char *what, GError **error)
{
  if (!check_side_file (m, path, what, error))
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

/* Whether the VM's disks stay where every system has drivers for them. */
static gboolean
has_known_disks (const Migration *m)
{
  return m->options->bus == H2K_BUS_SATA || m->options->bus == H2K_BUS_IDE;
}

/* A Windows whose disks will be on VirtIO meets them in a running system first. */
static gboolean
prepare_first_boot (Migration *m, GError **error)
{
  if (!m->guest || !m->guest->windows || !m->options->two_phase_boot || has_known_disks (m))
    return TRUE;
  m->first_boot = h2k_two_phase_new (m->xml_path);
  return may_write (m, m->first_boot->xml_path, "the definition of the first boot", error)
         && may_write (m, m->first_boot->disk_path, "the small disk of the first boot", error);
}

gboolean
h2k_step_inspect (H2kMigration *m, GError **error)
{
  H2kGuestOptions options = guest_options (m);
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
  return TRUE;
}

/* Which names are taken is known with the system, and said before there is work in it. */
static gboolean
step_inspect (Migration *m, GError **error)
{
  return h2k_step_inspect (m, error) && prepare_first_boot (m, error);
}

static H2kFilesystemChecks
filesystem_checks (Migration *m)
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
overlay_bytes (Migration *m)
{
  guint64 bytes = 0;

  for (guint i = 0; i < m->disks->len; i++)
    bytes += h2k_overlay_bytes (m->disks->pdata[i]);
  return bytes;
}

gboolean
h2k_step_repair (H2kMigration *m, GError **error)
{
  H2kRepairOptions options = {
      .mac_seed = m->mac_seed,
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
  ok = h2k_repair_run (m->repairs, m->options->repairs, error);
  ok = h2k_check_filesystems_changed (&checks, ok, error);

  h2k_report_repairs (m->report, m->repairs, m->options->repairs);
  h2k_migration_take_warnings (m, m->repairs->warnings);
  json_object_set_int_member (m->report->root, "overlay_bytes", (gint64)overlay_bytes (m));
  size = h2k_format_size (overlay_bytes (m));
  if (ok)
    g_message ("repair: %u change%s, %s in the overlay", m->repairs->changes->len,
               m->repairs->changes->len == 1 ? "" : "s", size);
  return ok ? TRUE : advise (m, error);
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
  g_autoptr (GPtrArray) files = source_files (m), set = output_set (m);
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
  H2kGuestOptions options = guest_options (m);
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
      .disks = disks,
  };

  for (guint i = 0; i < m->outputs->len; i++)
    g_ptr_array_add (disks, (char *)h2k_output_path (m->outputs->pdata[i]));
  m->domain = h2k_define (&definition, warnings);
  h2k_migration_take_warnings (m, warnings);
}

/* The ISO that the drivers came from; NULL: they are in a folder, or none were needed. */
static const char *
driver_iso (Migration *m)
{
  H2kDriverSource *source = m->repairs && m->repairs->windows && m->options->repairs
                                ? h2k_windows_driver_source (m->repairs, NULL)
                                : NULL;

  return source ? h2k_driver_source_path (source) : NULL;
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
      && (!m->first_boot || h2k_two_phase_write (m->first_boot, m->domain, driver_iso (m), error))
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

/* A guest that configures a NIC and comes up without an address has not been migrated. */
static gboolean
check_network (Migration *m, const H2kBootResult *result, GError **error)
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

static gboolean
run_steps (Migration *m, const H2kStep *steps, guint n, GError **error)
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
save_report (Migration *m, gboolean ok, GError **error)
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

gboolean
h2k_migration_run (const H2kMigrateOptions *options, H2kCloning *cloning, const H2kStep *steps,
                   guint n_steps, GCancellable *cancellable, H2kReport **report, GError **error)
{
  g_autoptr (H2kReport) record = NULL;
  g_autoptr (GError) local = NULL;
  g_auto (Migration) m = {.options = options, .cloning = cloning, .cancellable = cancellable};
  gboolean ok;

  record = m.report = h2k_report_new ();
  m.macs = g_ptr_array_new_with_free_func (g_free);
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

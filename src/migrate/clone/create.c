/* create.c - a clone is made: the pipeline of a migration, whose overlays are saved in a store
 * instead of being copied together with what lies below them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/clone.h"
#include "clone/server.h"
#include "clone/storage.h"
#include "domain/arch.h"
#include "domain/firmware.h"
#include "migrate/clone/encrypt.h"
#include "guest/product.h"
#include "migrate/clone/original-reader.h"
#include "migrate/pipeline.h"
#include "migrate/sizing.h"
#include "migrate/state.h"
#include "repair/hostname.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <unistd.h>

struct _H2kCloning
{
  const H2kCloneOptions *options;
  H2kCloneStore *store;
  H2kStorage *storage;
  H2kCloneDraft *draft;
  GPtrArray *named;     /* H2kOriginal *: what the user named */
  GPtrArray *originals; /* H2kOriginal *: of each disk */
  char *uuid;
  H2kImageKey *key; /* NULL: it is not encrypted */
};

static void
cloning_clear (H2kCloning *c)
{
  g_clear_pointer (&c->draft, h2k_clone_draft_free);
  g_clear_pointer (&c->storage, h2k_storage_free);
  g_clear_pointer (&c->store, h2k_clone_store_free);
  g_clear_pointer (&c->named, g_ptr_array_unref);
  g_clear_pointer (&c->originals, g_ptr_array_unref);
  g_clear_pointer (&c->uuid, g_free);
  g_clear_pointer (&c->key, h2k_image_key_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kCloning, cloning_clear)

H2kCloneOptions *
h2k_clone_options_new (void)
{
  H2kCloneOptions *options = g_new0 (H2kCloneOptions, 1);

  options->vm = h2k_migrate_options_new ();
  return options;
}

void
h2k_clone_options_free (H2kCloneOptions *options)
{
  if (!options)
    return;
  h2k_migrate_options_free (options->vm);
  g_free (options->name);
  g_free (options->state_dir);
  g_free (options->encrypt);
  g_free (options);
}

/* --- the originals ---------------------------------------------------------------------------- */

static gboolean
make_draft (H2kCloning *c, GError **error)
{
  if (!c->draft)
    c->draft = h2k_clone_draft_new (c->store, c->options->name, error);
  return c->draft != NULL;
}

/* A snapshot is of one file. */
static gboolean
check_one_file (const H2kMigration *m, const char *path, GError **error)
{
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, m->options->source_format, error);

  if (!disk)
    return FALSE;
  if (disk->files->len == 1 && !disk->backing)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s is in use, and consists of several files, of which there can be no snapshot at "
               "once: make one of the filesystem they are on, or stop who uses them",
               path);
  return FALSE;
}

/* Disk I, which is in use, is as it is now. */
static gboolean
take_snapshot (H2kMigration *m, guint i, GError **error)
{
  H2kCloning *c = m->cloning;
  const H2kOriginal *original = c->named->pdata[i];
  const char *path = original->attached->path;
  g_autofree char *copy = NULL;

  if (original->attached->is_device)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s is a device, and snapshots are made of image files only: make one of it "
                   "(lvcreate --snapshot, zfs snapshot) and clone that",
                   path);
      return FALSE;
    }
  if (m->options->dry_run)
    return TRUE;
  if (!check_one_file (m, path, error) || !make_draft (c, error)
      || !(copy = h2k_clone_draft_snapshot (c->draft, i, path, error)))
    return FALSE;
  g_message ("%s is in use: the clone is of a snapshot of it", path);
  h2k_original_free (g_steal_pointer (&c->named->pdata[i]));
  c->named->pdata[i] = h2k_original_new (NULL, copy, error);
  g_free (m->paths->pdata[i]);
  m->paths->pdata[i] = g_steal_pointer (&copy);
  return c->named->pdata[i] != NULL;
}

/* What the user named as number I. */
static gboolean
check_unused (H2kMigration *m, guint i, GError **error)
{
  const H2kOriginal *original = m->cloning->named->pdata[i];
  g_autofree char *users = h2k_attached_users_text (original->attached);
  g_autofree char *text = NULL;

  if (!users)
    return TRUE;
  if (m->cloning->options->snapshot && !m->options->appliance)
    return take_snapshot (m, i, error);
  if (!m->cloning->options->unsafe)
    return h2k_original_check_unused (original->attached, error);
  text = g_strdup_printf ("%s is in use (%s): the clone becomes corrupt when it is written to",
                          original->path, users);
  h2k_migration_warn (m, text);
  return TRUE;
}

/* A guest that gets an identity, but no name of its own, has the clone's. */
static void
choose_hostname (H2kMigration *m)
{
  const char *name = m->cloning->options->name, *problem = h2k_hostname_problem (name);

  if (!m->options->new_identity || m->options->hostname)
    return;
  m->hostname = h2k_hostname_make (name);
  if (problem)
    {
      g_autofree char *text = g_strdup_printf (
          "the guest is to be called %s, since \"%s\" %s, so that it is no host's name; --hostname "
          "gives it another one",
          m->hostname, name, problem);
      h2k_migration_warn (m, text);
    }
}

/* What is named before anything of it is read. */
static gboolean
name_original (H2kMigration *m, const char *path, GError **error)
{
  H2kCloning *c = m->cloning;
  H2kOriginal *original = h2k_original_new (c->store, path, error);

  if (!original)
    return FALSE;
  g_ptr_array_add (c->named, original);
  return !original->attached || check_unused (m, c->named->len - 1, error);
}

static gboolean
step_originals (H2kMigration *m, GError **error)
{
  choose_hostname (m);
  m->in_memory = m->cloning->key != NULL;
  /* Clone and original may be on one network. */
  if (m->options->macs->len == 0)
    m->mac_seed = g_strdup (m->cloning->uuid);
  if (m->options->appliance && !name_original (m, m->options->appliance, error))
    return FALSE;
  for (guint i = 0; i < m->paths->len; i++)
    if (!name_original (m, m->paths->pdata[i], error))
      return FALSE;
  return TRUE;
}

/* The digests of an appliance's manifest take as long as reading all of it does: that is for those
 * who want everything read. */
static void
skip_digests (H2kMigration *m)
{
  if (!m->digests || m->cloning->options->full)
    return;
  g_cancellable_cancel (m->stop_digests);
  g_thread_join (g_steal_pointer (&m->digests));
  g_clear_error (&m->digest_error);
  g_message ("the appliance is not compared with its manifest: --full does that");
}

static gboolean
finish_digests (H2kMigration *m, GError **error)
{
  if (!m->digests)
    return TRUE;
  g_thread_join (g_steal_pointer (&m->digests));
  if (!m->digest_error)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&m->digest_error));
  return FALSE;
}

/* As many NICs as the description has, but those of another VM. */
static void
renew_macs (H2kMigration *m)
{
  for (guint i = 0; m->mac_seed && i < m->macs->len; i++)
    {
      g_free (m->macs->pdata[i]);
      m->macs->pdata[i] = h2k_mac_from_seed (m->mac_seed, i);
    }
}

/* Who reads each of the disks, now that they are open. */
static gboolean
step_readers (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;

  skip_digests (m);
  renew_macs (m);
  for (guint i = 0; i < m->sources->len; i++)
    {
      H2kDisk *disk = m->sources->pdata[i];
      H2kOriginal *original
          = m->appliance ? h2k_original_new_member (c->store, c->named->pdata[0], m->appliance,
                                                    m->options->appliance_kind, i, error)
                         : g_ptr_array_steal_index (c->named, 0);

      if (!original)
        return FALSE;
      g_ptr_array_add (c->originals, original);
      h2k_original_choose_reader (original, disk, c->uuid, i);
      if (original->socket)
        g_message ("%s: QEMU does not read it itself, it is served while the VM runs", disk->name);
    }
  return TRUE;
}

/* --- where it goes ---------------------------------------------------------------------------- */

static gboolean
step_place (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;

  c->storage = h2k_storage_of (c->store->clones, error);
  return c->storage
         && h2k_storage_check (c->storage, c->store->clones, c->options->max_size, error);
}

static char *
final_path (const H2kCloning *c, const char *name)
{
  return g_build_filename (c->draft->final_dir, name, NULL);
}

/* --- the definition --------------------------------------------------------------------------- */

/* A device's physical sectors, for which writes are best aligned: as on the original. */
static void
set_physical_sectors (H2kMigration *m, guint i, H2kDomainDisk *disk)
{
  const H2kOriginal *original = m->cloning->originals->pdata[i];
  const H2kAttached *attached = original->attached;

  if (!attached || !attached->is_device || attached->physical_sector <= 512)
    return;
  disk->logical_block = MAX (disk->logical_block, 512);
  disk->physical_block = MAX (attached->physical_sector, disk->logical_block);
}

/* Firmware of PCs without UEFI reads sectors of 512 bytes only. */
static gboolean
check_firmware (H2kMigration *m, GError **error)
{
  for (guint i = 0; i < m->domain->disks->len; i++)
    {
      const H2kDomainDisk *disk = m->domain->disks->pdata[i];
      if (disk->logical_block <= 512 || m->domain->firmware == H2K_FIRMWARE_UEFI)
        continue;
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s has logical sectors of %u bytes and no EFI system partition: there is no "
                   "firmware that starts a VM from it",
                   ((H2kDisk *)m->sources->pdata[i])->name, disk->logical_block);
      return FALSE;
    }
  return TRUE;
}

/* Of a VM with Secure Boot, that with the keys: without them it would be off. */
static H2kUefiFiles *
find_firmware (H2kMigration *m, const H2kArch *arch, GError **error)
{
  H2kUefiFiles *files
      = h2k_domain_is_secure (m->domain) ? h2k_uefi_find_secure ("", arch->libvirt) : NULL;

  if (files)
    return files;
  if (h2k_domain_is_secure (m->domain))
    h2k_migration_warn (m, "the VM had Secure Boot, and this host has no firmware with its keys: "
                           "the clone's is off");
  return h2k_uefi_find ("", arch->libvirt, error);
}

/* UEFI's variables are part of the clone's state. */
static gboolean
add_nvram (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;
  const H2kArch *arch = h2k_arch_get (m->domain->arch);
  g_autoptr (H2kUefiFiles) files = NULL;
  g_autofree char *path = NULL;
  g_autofree char *data = NULL;
  g_autoptr (GError) local = NULL;
  gsize length;

  if (m->domain->firmware != H2K_FIRMWARE_UEFI && !arch->always_uefi)
    return TRUE;
  if (!(files = find_firmware (m, arch, error)))
    return FALSE;
  path = h2k_clone_draft_nvram (c->draft);
  if (!g_file_get_contents (files->vars, &data, &length, &local)
      || !g_file_set_contents_full (path, data, (gssize)length,
                                    G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                    0600, &local))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "cannot copy the UEFI variables: %s",
                   local->message);
      return FALSE;
    }
  m->domain->nvram = final_path (c, "current/nvram.fd");
  return TRUE;
}

/* What neither the user nor a description says: what the guest needs of this host. */
static void
set_size (H2kMigration *m)
{
  g_autoptr (H2kProduct) product
      = m->guest && !m->guest->windows ? h2k_guest_product (m->guest) : NULL;
  const H2kVm *vm = m->appliance ? m->appliance->vm : NULL;
  g_auto (H2kSizing) sizing = {0};

  h2k_size_guest (m->guest, product ? product->id : NULL, FALSE, h2k_host_memory_mib (),
                  g_get_num_processors (), &sizing);
  if (m->options->memory_mib == 0 && !(vm && vm->memory_mib))
    m->domain->memory_mib = sizing.memory_mib;
  if (m->options->vcpus == 0 && !(vm && vm->vcpus))
    m->domain->vcpus = sizing.vcpus;
}

static void
define (H2kMigration *m)
{
  H2kCloning *c = m->cloning;
  g_autoptr (GPtrArray) warnings = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func (g_free);
  H2kDefinition definition = {
      .options = m->options,
      .name = c->options->name,
      .vm = m->appliance ? m->appliance->vm : NULL,
      .guest = m->guest,
      .repairs = m->repairs,
      .macs = m->macs,
      .sources = m->sources,
      .disks = disks,
      .tpm = c->options->tpm,
  };

  for (guint i = 0; i < m->sources->len; i++)
    {
      g_autofree char *name = h2k_clone_disk_name (i);
      g_ptr_array_add (disks, g_build_filename (c->draft->final_dir, "current", name, NULL));
    }
  m->domain = h2k_define (&definition, warnings);
  h2k_migration_take_warnings (m, warnings);
  m->domain->uuid = g_strdup (c->uuid);
  h2k_domain_fix_macs (m->domain);
  set_size (m);
  for (guint i = 0; i < m->domain->disks->len; i++)
    {
      H2kDomainDisk *disk = m->domain->disks->pdata[i];
      disk->direct = c->storage->can_direct;
      set_physical_sectors (m, i, disk);
    }
}

/* --- its state -------------------------------------------------------------------------------- */

static JsonObject *
describe_original (H2kMigration *m, guint i, GError **error)
{
  const H2kCloning *c = m->cloning;
  const H2kCopyOptions progress
      = {.progress = m->options->progress, .progress_data = m->options->progress_data};
  const H2kOriginal *original = c->originals->pdata[i];
  JsonObject *o = h2k_original_describe (original->attached, m->sources->pdata[i], c->options->full,
                                         &progress, m->cancellable, error);

  if (!o)
    return NULL;
  h2k_original_to_json (original, o);
  /* A snapshot gets its final name with the clone. */
  h2k_original_move (o, c->draft->dir, c->draft->final_dir);
  return o;
}

static gboolean
fill_state (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;
  JsonObject *root = c->draft->root;
  JsonArray *originals = json_array_new ();
  g_autoptr (GDateTime) now = g_date_time_new_now_utc ();
  g_autofree char *created = g_date_time_format (now, "%Y-%m-%dT%H:%M:%SZ");

  json_object_set_string_member (root, "name", c->options->name);
  json_object_set_string_member (root, "uuid", c->uuid);
  json_object_set_string_member (root, "created", created);
  json_object_set_string_member (root, "hyper2kvm", h2k_version ());
  json_object_set_string_member (root, "guest", m->guest ? m->guest->pretty_name : "");
  json_object_set_string_member (root, "firmware", h2k_firmware_name (m->domain->firmware));
  if (c->options->max_size > 0)
    json_object_set_int_member (root, "max-size",
                                (gint64)MIN (c->options->max_size, (guint64)G_MAXINT64));
  json_object_set_object_member (root, "machine", h2k_domain_to_json (m->domain));
  json_object_set_array_member (root, "originals", originals);
  for (guint i = 0; i < m->sources->len; i++)
    {
      JsonObject *original = describe_original (m, i, error);
      if (!original)
        return FALSE;
      json_array_add_object_element (originals, original);
    }
  return TRUE;
}

/* --- saving ----------------------------------------------------------------------------------- */

static gboolean
save_disks (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;

  for (guint i = 0; i < m->disks->len; i++)
    {
      const H2kOriginal *original = c->originals->pdata[i];
      g_autofree char *uri = original->socket ? h2k_clone_server_uri (original->socket) : NULL;

      if (!h2k_clone_draft_add_disk (c->draft, m->disks->pdata[i], uri ? uri : original->path,
                                     original->qemu, m->cancellable, error)
          || (uri && !h2k_clone_draft_link (c->draft, i, original->path, error)))
        return FALSE;
    }
  return TRUE;
}

static gboolean
write_definition (H2kMigration *m, GError **error)
{
  g_autofree char *xml = h2k_domain_to_xml (m->domain);
  g_autofree char *path = g_build_filename (m->cloning->draft->dir, "domain.xml", NULL);
  g_autoptr (GError) local = NULL;

  if (g_file_set_contents_full (path, xml, -1,
                                G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600,
                                &local))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the definition cannot be written: %s",
               local->message);
  return FALSE;
}

/* Windows meets VirtIO in a running system before it starts from it. */
static gboolean
write_first_boot (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;
  g_autofree char *xml = g_build_filename (c->draft->dir, "domain.xml", NULL);
  g_autofree char *name = NULL;

  if (!h2k_migration_needs_first_boot (m))
    return TRUE;
  m->first_boot = h2k_two_phase_new (xml);
  name = g_path_get_basename (m->first_boot->disk_path);
  m->first_boot->named_disk = final_path (c, name);
  return h2k_two_phase_write (m->first_boot, m->domain, h2k_migration_driver_iso (m), error);
}

static void
report_clone (H2kMigration *m)
{
  H2kCloning *c = m->cloning;
  JsonObject *clone = h2k_report_object (m->report->root, "clone");
  g_autofree char *xml = final_path (c, "domain.xml");
  g_autofree char *disk = final_path (c, "current/disk.qcow2");

  json_object_set_string_member (clone, "name", c->options->name);
  json_object_set_string_member (clone, "folder", c->draft->final_dir);
  json_object_set_string_member (clone, "disk", disk);
  json_object_set_string_member (clone, "domain_xml", xml);
  json_object_set_string_member (clone, "uuid", c->uuid);
}

/* clone.json has the machine without it: what is encrypted, the images say. */
static gboolean
define_encryption (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;

  return !c->key || h2k_clone_draft_define (c->draft, c->options->encrypt, m->domain, error);
}

static gboolean
step_save (H2kMigration *m, GError **error)
{
  H2kCloning *c = m->cloning;

  if (!finish_digests (m, error))
    return FALSE;
  for (guint i = 0; i < m->sources->len; i++)
    if (!h2k_source_check (m->sources->pdata[i], m->states->pdata[i], error))
      return FALSE;
  if (!make_draft (c, error)
      || (c->key && !h2k_clone_draft_encrypt (c->draft, c->key, c->options->encrypt, error)))
    return FALSE;
  define (m);
  if (!check_firmware (m, error) || !define_encryption (m, error) || !save_disks (m, error)
      || !add_nvram (m, error) || !fill_state (m, error) || !write_definition (m, error)
      || !write_first_boot (m, error) || !h2k_clone_draft_commit (c->draft, error))
    return FALSE;
  m->committed = TRUE;
  report_clone (m);
  return TRUE;
}

static gboolean
step_boot (H2kMigration *m, GError **error)
{
  const H2kCloneOptions *options = m->cloning->options;

  if (m->options->boot_test != H2K_BOOT_TEST_NONE
      && !h2k_clones_serve (options->state_dir, options->name, 0, m->cancellable, error))
    return FALSE;
  return h2k_step_boot (m, error);
}

static const H2kStep steps[] = {
    {"originals", step_originals, FALSE},
    {"open", h2k_step_open, FALSE},
    {"readers", step_readers, FALSE},
    {"place", step_place, TRUE},
    {"inspect", h2k_step_inspect, FALSE},
    {"check", h2k_step_check, FALSE},
    {"repair", h2k_step_repair, FALSE},
    {"recheck", h2k_step_recheck, FALSE},
    {"save", step_save, TRUE},
    {"boot", step_boot, TRUE},
};

static gboolean
check_options (const H2kCloneOptions *options, GError **error)
{
  const H2kMigrateOptions *vm = options->vm;
  const char *wrong = NULL;

  if (!options->name)
    wrong = "the clone has no name";
  else if (vm->appliance ? vm->sources->len > 0 : vm->sources->len == 0)
    wrong = "name the disk that is to be cloned, or an exported VM alone";
  else if (vm->appliance && !vm->appliance_kind)
    wrong = "a VM's description is an OVA, an OVF or a .vmx";
  else if (vm->report && !h2k_report_format (vm->report))
    wrong = "the report's name must end in .md, .json or .html";
  else if (vm->bus == H2K_BUS_IDE && vm->sources->len > 4)
    wrong = "there is room for four disks on IDE: give --bus sata or virtio-blk";
  for (guint i = 0; !wrong && i < vm->macs->len; i++)
    {
      g_autofree char *mac = h2k_mac_parse (vm->macs->pdata[i]);
      if (!mac)
        wrong = "a MAC is written as 52:54:00:12:34:56 and is no multicast address";
    }
  if (wrong)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, wrong);
  return !wrong && h2k_clone_check_name ("a clone", options->name, error)
         && h2k_migration_check_identity (vm, error);
}

gboolean
h2k_clones_create (const H2kCloneOptions *options, GCancellable *cancellable, H2kReport **report,
                   GError **error)
{
  g_auto (H2kCloning) c = {.options = options};

  if (!check_options (options, error)
      || !(c.store = h2k_clone_store_open (options->state_dir, error)))
    return FALSE;
  c.named = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_original_free);
  c.originals = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_original_free);
  c.uuid = g_uuid_string_random ();
  if (options->encrypt && !(c.key = h2k_image_key_read (options->encrypt, error)))
    return FALSE;
  return h2k_clone_check_new (c.store, options->name, error)
         && h2k_migration_run (options->vm, &c, steps, G_N_ELEMENTS (steps), cancellable, report,
                               error);
}

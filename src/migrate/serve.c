/* serve.c - a disk image offered over NBD: as it is, repaired, or for writes that are dropped.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/nbd-server.h"
#include "migrate/migrate.h"

#define OVERLAY_MEMORY (G_GUINT64_CONSTANT (64) << 20)
#define NAME_MAX_BYTES 4096

H2kNbdOptions *
h2k_nbd_options_new (void)
{
  H2kNbdOptions *options = g_new0 (H2kNbdOptions, 1);

  options->keys = g_ptr_array_new_with_free_func (g_free);
  options->first_boot = g_ptr_array_new_with_free_func (g_free);
  options->port = -1;
  options->listen_fd = -1;
  return options;
}

void
h2k_nbd_options_free (H2kNbdOptions *options)
{
  if (!options)
    return;
  g_ptr_array_unref (options->keys);
  g_ptr_array_unref (options->first_boot);
  g_free (options->virtio_win);
  g_free (options->virtio_config);
  g_free (options->guest_agent);
  g_free (options->source);
  g_free (options->source_format);
  g_free (options->export_name);
  g_free (options->socket);
  g_free (options->temp_dir);
  g_free (options);
}

static gboolean
check_options (const H2kNbdOptions *o, GError **error)
{
  const char *wrong = NULL;

  if (!o->source)
    wrong = "no disk is named";
  else if ((o->socket != NULL) + (o->port >= 0) + (o->listen_fd >= 0) > 1)
    wrong = "a socket, a port and a socket that was handed over exclude each other";
  else if (o->port > 65535)
    wrong = "a port is a number from 0 to 65535";
  else if (o->export_name
           && (strlen (o->export_name) > NAME_MAX_BYTES
               || !g_utf8_validate (o->export_name, -1, NULL)))
    wrong = "an export's name is UTF-8 text of at most 4096 bytes";
  else if (o->connections > 1000)
    wrong = "there can be 1 to 1000 connections";
  if (wrong)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, wrong);
  return wrong == NULL;
}

/* The guest is closed again when this returns: all that it changed is in DISK. */
static gboolean
repair (H2kDisk *disk, const H2kNbdOptions *o, GError **error)
{
  g_autoptr (H2kKeys) keys = h2k_keys_parse (o->keys, error);
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autoptr (H2kGuest) guest = NULL;
  g_autoptr (H2kRepairContext) repairs = NULL;
  g_autofree char *size = NULL;
  H2kGuestOptions options = {.keys = keys,
                             .kvm_works = h2k_kvm_works,
                             .force_dirty = o->force_dirty,
                             .temp_dir = o->temp_dir};
  H2kRepairOptions repair_options = {
      .virtio_win = o->virtio_win,
      .virtio_config = o->virtio_config,
      .guest_agent = o->guest_agent,
      .first_boot = o->first_boot,
      .temp_dir = o->temp_dir,
      .known_disks = o->bus == H2K_BUS_SATA || o->bus == H2K_BUS_IDE,
  };

  g_ptr_array_add (disks, disk);
  guest = keys ? h2k_guest_open (disks, &options, error) : NULL;
  if (!guest)
    return FALSE;
  repairs = h2k_repair_context_new (guest, &repair_options);
  if (!h2k_repair_run (repairs, H2K_REPAIR_AUTO, error))
    return FALSE;
  for (guint i = 0; i < guest->warnings->len; i++)
    g_warning ("%s", (char *)guest->warnings->pdata[i]);
  for (guint i = 0; i < repairs->warnings->len; i++)
    g_warning ("%s", (char *)repairs->warnings->pdata[i]);
  size = h2k_format_size (h2k_overlay_bytes (disk));
  g_message ("guest: %s; repair: %u change%s, %s in the overlay", guest->pretty_name,
             repairs->changes->len, repairs->changes->len == 1 ? "" : "s", size);
  for (guint i = 0; i < repairs->nics->len; i++)
    {
      H2kNic *nic = repairs->nics->pdata[i];
      g_message ("network: give the VM's NIC %u the MAC %s", i + 1, nic->mac);
    }
  return TRUE;
}

/* What clients get to see. */
static H2kDisk *
open_view (const H2kNbdOptions *options, GError **error)
{
  g_autoptr (H2kDisk) source = h2k_disk_open (options->source, options->source_format, error);
  g_autoptr (H2kDisk) overlay = NULL;

  if (!source || (!options->repair && !options->writable))
    return g_steal_pointer (&source);
  overlay = h2k_overlay_new (source, options->temp_dir, OVERLAY_MEMORY);
  if (options->repair && !repair (overlay, options, error))
    return NULL;
  return g_steal_pointer (&overlay);
}

static gboolean
listen_somewhere (const H2kNbdOptions *options, H2kNbdServer *server, GError **error)
{
  if (options->listen_fd >= 0)
    return h2k_nbd_server_listen_fd (server, options->listen_fd, error);
  if (options->port >= 0)
    return h2k_nbd_server_listen_tcp (server, (guint16)options->port, error);
  return h2k_nbd_server_listen_unix (server, options->socket, error);
}

static gboolean
serve (const H2kNbdOptions *options, GCancellable *cancellable, GError **error)
{
  g_autoptr (H2kDisk) disk = open_view (options, error);
  g_autoptr (H2kNbdServer) server = NULL;
  g_autofree char *description = NULL;
  H2kNbdServerOptions so = {
      .name = options->export_name,
      .writable = options->writable,
      .connections = options->connections,
  };

  if (!disk || h2k_is_cancelled (cancellable, error))
    return FALSE;
  description
      = g_strconcat (disk->name, options->repair ? ", repaired" : "",
                     options->writable ? ", writes are dropped at the end" : ", read-only", NULL);
  so.description = description;
  server = h2k_nbd_server_new (disk, &so);
  if (!listen_somewhere (options, server, error))
    return FALSE;
  g_message ("nbd: %s", description);
  if (options->ready
      && !options->ready (h2k_nbd_server_uri (server), disk->size, options->ready_data, error))
    return FALSE;
  h2k_nbd_server_wait (server, options->exit_last, cancellable);
  return TRUE;
}

gboolean
h2k_nbd_serve (const H2kNbdOptions *options, GCancellable *cancellable, GError **error)
{
  gboolean ok;

  g_return_val_if_fail (options != NULL, FALSE);
  if (!check_options (options, error))
    return FALSE;
  /* For what has no argument for it: reads from servers. */
  if (cancellable)
    g_cancellable_push_current (cancellable);
  ok = serve (options, cancellable, error);
  if (cancellable)
    g_cancellable_pop_current (cancellable);
  return ok;
}

/* guestfs-appliance.c - starting, watching and ending a libguestfs appliance.
 *
 * libguestfs waits for its appliance as long as it takes. So a thread watches each call and, when
 * it lasts too long or the run is cancelled, kills the QEMU below it, on which the call fails. QEMU
 * is known by this appliance's own folder, in which the sockets of its disks are: during the launch
 * libguestfs does not tell its process.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs-private.h"

#include "fs/btrfs-devices.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>

#define LAUNCH_SECONDS 300u
#define EMULATED_LAUNCH_SECONDS 900u
#define WORK_SECONDS 900u       /* without reading or writing; replaying a log, checking */
#define WORK_LIMIT (12u * 3600) /* altogether */
#define KERNEL_LINES 8u
#define WATCH_INTERVAL (G_USEC_PER_SEC / 5)
#define CONSOLE_KEPT 4096u
#define CONSOLE_TOLD 400u
#define TIMEOUT_VARIABLE "H2K_PATIENCE"

struct _H2kGuestfs
{
  H2kKvmFunc kvm_works;
  guestfs_h *handle; /* NULL: not started */
  GPtrArray *files;  /* GuestfsFs *, not owned */
  guint labels;      /* how many were given out */
  char *dir;         /* for sockets and temporary files; NULL: not started */
  GString *console;
  gboolean dead; /* it was killed or ended: it is not started again */
  guint seconds; /* the call that is under way was given */

  GThread *watcher;
  GMutex lock; /* for what follows */
  GCond changed;
  GCancellable *cancellable;
  gint64 deadline; /* monotonic; 0: no call is under way */
  gint64 limit;    /* requests to the disks put the deadline off until then; 0: they do not */
  guint requests;  /* that there were when it was put off last */
  gboolean stop;
  guint late;         /* the watcher killed it after so many seconds, ... */
  gboolean cancelled; /* ... or for this reason */
};

/* --- the processes below it ------------------------------------------------------------------- */

/* Whether the process PID is a child of this one that works for the appliance with DIR. */
static gboolean
is_ours (const char *pid, const char *dir)
{
  g_autofree char *status_path = g_build_filename ("/proc", pid, "status", NULL);
  g_autofree char *arguments_path = g_build_filename ("/proc", pid, "cmdline", NULL);
  g_autofree char *parent = g_strdup_printf ("\nPPid:\t%d\n", (int)getpid ());
  g_autofree char *status = NULL, *arguments = NULL;
  gsize length;

  if (!g_file_get_contents (status_path, &status, NULL, NULL) || !strstr (status, parent))
    return FALSE;
  /* The first appliance of a user is put together by supermin. */
  return g_str_has_prefix (status, "Name:\tsupermin")
         || (g_file_get_contents (arguments_path, &arguments, &length, NULL)
             && memmem (arguments, length, dir, strlen (dir)));
}

static void
kill_processes (const char *dir)
{
  g_autoptr (GDir) proc = g_dir_open ("/proc", 0, NULL);
  const char *name;

  while (proc && (name = g_dir_read_name (proc)))
    if (g_ascii_isdigit (*name) && is_ours (name, dir))
      kill ((pid_t)g_ascii_strtoll (name, NULL, 10), SIGKILL);
}

/* What the appliance was told of an error of the disks, its kernel may try again for ever, or keep
 * to itself. */
static gboolean
check_servers (H2kGuestfs *a, GError **error)
{
  for (guint i = 0; i < a->files->len; i++)
    {
      const GuestfsFs *fs = a->files->pdata[i];
      for (guint k = 0; k < fs->servers->len; k++)
        if (!h2k_nbd_server_check (fs->servers->pdata[k], error))
          return FALSE;
    }
  return TRUE;
}

/* The number only tells whether there were some. */
static guint
count_requests (H2kGuestfs *a)
{
  guint n = 0;

  for (guint i = 0; i < a->files->len; i++)
    {
      const GuestfsFs *fs = a->files->pdata[i];
      for (guint k = 0; k < fs->servers->len; k++)
        n += h2k_nbd_server_requests (fs->servers->pdata[k]);
    }
  return n;
}

/* With the lock: what reads and writes is at work. */
static void
put_off (H2kGuestfs *a, gint64 now)
{
  guint requests = count_requests (a);

  if (requests != a->requests)
    a->deadline = MIN (now + (gint64)a->seconds * G_USEC_PER_SEC, a->limit);
  a->requests = requests;
}

static gpointer
watch (gpointer data)
{
  H2kGuestfs *a = data;

  g_mutex_lock (&a->lock);
  while (!a->stop)
    {
      gint64 now = g_get_monotonic_time ();

      if (a->deadline && a->limit && !a->late)
        put_off (a, now);
      if (!a->deadline)
        g_cond_wait (&a->changed, &a->lock);
      else if (now >= a->deadline || g_cancellable_is_cancelled (a->cancellable)
               || !check_servers (a, NULL))
        {
          if (now >= a->deadline)
            a->late = a->limit && now >= a->limit ? WORK_LIMIT : a->seconds;
          a->cancelled = !a->late && g_cancellable_is_cancelled (a->cancellable);
          kill_processes (a->dir);
          /* One that was just being started is killed the next time. */
          g_cond_wait_until (&a->changed, &a->lock, now + WATCH_INTERVAL);
        }
      else
        g_cond_wait_until (&a->changed, &a->lock, MIN (a->deadline, now + WATCH_INTERVAL));
    }
  g_mutex_unlock (&a->lock);
  return NULL;
}

static void
start_watching (H2kGuestfs *a)
{
  a->stop = a->cancelled = FALSE;
  a->late = 0;
  a->deadline = 0;
  a->watcher = g_thread_new ("h2k-guestfs", watch, a);
}

static void
stop_watching (H2kGuestfs *a)
{
  if (!a->watcher)
    return;
  g_mutex_lock (&a->lock);
  a->stop = TRUE;
  g_cond_signal (&a->changed);
  g_mutex_unlock (&a->lock);
  g_thread_join (g_steal_pointer (&a->watcher));
}

/* --- calls ------------------------------------------------------------------------------------ */

/* For tests and for slow machines. */
static guint
allowed (guint seconds)
{
  const char *text = g_getenv (TIMEOUT_VARIABLE);
  guint64 value;

  return text && g_ascii_string_to_unsigned (text, 10, 1, 86400, &value, NULL) ? (guint)value
                                                                               : seconds;
}

static void
begin (H2kGuestfs *a, guint seconds, guint limit)
{
  gint64 now = g_get_monotonic_time ();

  g_mutex_lock (&a->lock);
  a->seconds = allowed (seconds);
  a->cancellable = g_cancellable_get_current ();
  a->deadline = now + (gint64)a->seconds * G_USEC_PER_SEC;
  a->limit = limit ? now + (gint64)limit * G_USEC_PER_SEC : 0;
  g_cond_signal (&a->changed);
  g_mutex_unlock (&a->lock);
}

void
h2k_guestfs_begin (H2kGuestfs *a, guint seconds)
{
  begin (a, seconds, 0);
}

void
h2k_guestfs_begin_work (H2kGuestfs *a, guint seconds)
{
  begin (a, seconds, WORK_LIMIT);
}

/* The last lines of the console, as one. The caller's. */
static char *
last_words (H2kGuestfs *a)
{
  gsize from = a->console->len > CONSOLE_TOLD ? a->console->len - CONSOLE_TOLD : 0;
  g_autofree char *valid = g_utf8_make_valid (a->console->str + from, -1);
  g_auto (GStrv) lines = g_strsplit_set (g_strstrip (valid), "\r\n", -1);
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; lines[i]; i++)
    if (*g_strstrip (lines[i]))
      g_string_append_printf (text, "%s%s", text->len ? " | " : "", lines[i]);
  return text->len ? h2k_escape_text (text->str, (gssize)text->len) : g_strdup ("nothing");
}

static gboolean
is_missing (int number)
{
  return number == ENOENT || number == ENOTDIR || number == ENAMETOOLONG;
}

/* The appliance is gone: say why. */
static void
set_gone (H2kGuestfs *a, guint late, gboolean cancelled, GError **error)
{
  g_autofree char *words = last_words (a);
  const char *why = guestfs_last_error (a->handle);
  g_autofree char *safe = h2k_escape_text (why ? why : "it ended", -1);

  if (cancelled)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_CANCELLED, "cancelled");
  else if (late)
    g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                 "the libguestfs appliance gave no answer for %u seconds and was stopped "
                 "(" TIMEOUT_VARIABLE " allows more); its console ends with: %s",
                 late, words);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                 "the libguestfs appliance failed: %s; its console ends with: %s. "
                 "libguestfs-test-tool tells whether libguestfs works on this host",
                 safe, words);
}

gboolean
h2k_guestfs_end (H2kGuestfs *a, gboolean ok, const char *path, GError **error)
{
  gboolean killed, cancelled;
  const char *message;
  int number;
  guint late;

  g_mutex_lock (&a->lock);
  a->deadline = 0;
  late = a->late;
  killed = late || a->cancelled;
  cancelled = a->cancelled || g_cancellable_is_cancelled (a->cancellable);
  g_mutex_unlock (&a->lock);
  if (!check_servers (a, error))
    {
      a->dead = TRUE;
      return FALSE;
    }
  if (ok && !killed)
    return TRUE;
  if (killed || !guestfs_is_ready (a->handle))
    {
      a->dead = TRUE;
      set_gone (a, late, cancelled, error);
      return FALSE;
    }
  number = guestfs_last_errno (a->handle);
  message = guestfs_last_error (a->handle);
  if (is_missing (number))
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "%s: no such file or directory",
                 path ? path : "");
  else
    {
      g_autofree char *safe = h2k_escape_text (message ? message : "", -1);
      g_strdelimit (g_strstrip (safe), "\n", ' ');
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "libguestfs: %s", safe);
    }
  return FALSE;
}

char *
h2k_guestfs_shell (H2kGuestfs *a, const char *script, GError **error)
{
  char *arguments[] = {(char *)script, NULL};
  char *text, *answer;

  h2k_guestfs_begin_work (a, WORK_SECONDS);
  text = guestfs_debug (a->handle, "sh", arguments);
  answer = h2k_guestfs_end (a, text != NULL, NULL, error) ? g_strdup (text) : NULL;
  free (text);
  return answer;
}

static void
take_console (guestfs_h *handle, void *opaque, uint64_t event, int event_handle, int flags,
              const char *text, size_t length, const uint64_t *array, size_t array_length)
{
  GString *console = opaque;

  g_string_append_len (console, text, (gssize)length);
  if (console->len > 2 * CONSOLE_KEPT)
    g_string_erase (console, 0, (gssize)(console->len - CONSOLE_KEPT));
}

/* --- starting and ending ---------------------------------------------------------------------- */

/* Whatever is running goes. What is not on the volumes by now is lost. */
static void
end_appliance (H2kGuestfs *a)
{
  if (!a->dir)
    return;
  stop_watching (a);
  kill_processes (a->dir);
  if (a->handle)
    guestfs_close (g_steal_pointer (&a->handle));
  for (guint i = 0; i < a->files->len; i++)
    {
      GuestfsFs *fs = a->files->pdata[i];
      fs->mounted = FALSE;
      g_hash_table_remove_all (fs->stats);
      g_ptr_array_set_size (fs->servers, 0);
    }
  if (g_rmdir (a->dir) < 0)
    g_info ("%s is left: %s", a->dir, g_strerror (errno));
  g_clear_pointer (&a->dir, g_free);
}

/* What the appliance calls device number I of the filesystem. The caller's. */
static char *
label_of (const GuestfsFs *fs, guint i)
{
  return i ? g_strdup_printf ("%s%c%c", fs->label, 'a' + i / 26 % 26, 'a' + i % 26)
           : g_strdup (fs->label);
}

static gboolean
add_drive (H2kGuestfs *a, GuestfsFs *fs, H2kDisk *disk, const char *label, GError **error)
{
  H2kNbdServerOptions options = {.writable = fs->base.writable, .connections = 1, .threads = 1};
  g_autofree char *socket = g_strconcat (a->dir, "/", label, NULL);
  g_autofree char *address = g_strconcat ("unix:", socket, NULL);
  H2kNbdServer *server = h2k_nbd_server_new (disk, &options);
  char *servers[] = {address, NULL};

  g_ptr_array_add (fs->servers, server);
  if (!h2k_nbd_server_listen_unix (server, socket, error))
    return FALSE;
  h2k_guestfs_begin (a, LAUNCH_SECONDS);
  return h2k_guestfs_end (a,
                          guestfs_add_drive_opts (a->handle, "", GUESTFS_ADD_DRIVE_OPTS_READONLY,
                                                  !fs->base.writable, GUESTFS_ADD_DRIVE_OPTS_FORMAT,
                                                  "raw", GUESTFS_ADD_DRIVE_OPTS_PROTOCOL, "nbd",
                                                  GUESTFS_ADD_DRIVE_OPTS_SERVER, servers,
                                                  GUESTFS_ADD_DRIVE_OPTS_LABEL, label, -1)
                              == 0,
                          NULL, error);
}

/* A filesystem on several devices needs all of them. */
static gboolean
add_drives (H2kGuestfs *a, GuestfsFs *fs, GError **error)
{
  GPtrArray *devices = h2k_btrfs_devices_of (fs->base.volume);

  for (guint i = 0; i < (devices ? devices->len : 1); i++)
    {
      g_autofree char *label = label_of (fs, i);

      if (!add_drive (a, fs, devices ? devices->pdata[i] : fs->base.volume, label, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
configure (H2kGuestfs *a, gboolean emulated, GError **error)
{
  guestfs_h *g = a->handle;
  gboolean ok;

  guestfs_set_error_handler (g, NULL, NULL);
  guestfs_set_event_callback (g, take_console, GUESTFS_EVENT_APPLIANCE, 0, a->console);
  h2k_guestfs_begin (a, LAUNCH_SECONDS);
  /* libvirt's QEMU may run as another user, who does not reach our sockets. */
  ok = guestfs_set_backend (g, "direct") == 0 && guestfs_set_tmpdir (g, a->dir) == 0
       && guestfs_set_autosync (g, 0) == 0
       && guestfs_set_pgroup (g, 1) == 0 /* a terminal's Ctrl-C is for us */
       && (!emulated || guestfs_set_backend_setting (g, "force_tcg", "1") == 0);
  return h2k_guestfs_end (a, ok, NULL, error);
}

static gboolean
launch (H2kGuestfs *a, GError **error)
{
  const char *why = "not asked for";
  gboolean emulated = !a->kvm_works || !a->kvm_works (&why);
  gint64 start = g_get_monotonic_time ();

  a->dir = g_dir_make_tmp ("hyper2kvm-guestfs-XXXXXX", error);
  if (!a->dir)
    return FALSE;
  g_string_truncate (a->console, 0);
  a->handle = guestfs_create_flags (GUESTFS_CREATE_NO_CLOSE_ON_EXIT);
  if (!a->handle)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "libguestfs cannot be used: %s",
                   g_strerror (errno));
      return FALSE;
    }
  start_watching (a);
  if (!configure (a, emulated, error))
    return FALSE;
  for (guint i = 0; i < a->files->len; i++)
    if (!add_drives (a, a->files->pdata[i], error))
      return FALSE;
  if (emulated)
    g_message ("starting the libguestfs appliance for %u volume%s, emulated (KVM: %s)",
               a->files->len, a->files->len == 1 ? "" : "s", why);
  else
    g_message ("starting the libguestfs appliance for %u volume%s", a->files->len,
               a->files->len == 1 ? "" : "s");
  h2k_guestfs_begin (a, emulated ? EMULATED_LAUNCH_SECONDS : LAUNCH_SECONDS);
  if (!h2k_guestfs_end (a, guestfs_launch (a->handle) == 0, NULL, error))
    {
      a->dead = TRUE;
      return FALSE;
    }
  g_info ("the appliance runs after %.1f s",
          (double)(g_get_monotonic_time () - start) / G_USEC_PER_SEC);
  return TRUE;
}

static gboolean
ensure_running (H2kGuestfs *a, GError **error)
{
  if (a->dead)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_TOOL,
                           "the libguestfs appliance failed before");
      return FALSE;
    }
  if (a->handle)
    return TRUE;
  if (launch (a, error))
    return TRUE;
  end_appliance (a);
  return FALSE;
}

/* --- mounting --------------------------------------------------------------------------------- */

/* Every mount shows the whole filesystem; one that is not to be changed is not recovered either. */
static const struct
{
  const char *type, *writable, *readonly;
} mount_options[] = {
    {"xfs", "noatime,nouuid", "ro,norecovery,nouuid"},
    {"btrfs", "noatime,subvolid=5", "ro,rescue=nologreplay,subvolid=5"},
    {"ext2", "noatime", "ro"},
    {"ext3", "noatime", "ro,noload"},
    {"ext4", "noatime", "ro,noload"},
    {NULL, "noatime", "ro"},
};

/* The caller's. Linux is told all devices; what lacks one is not written, but may be readable. */
static char *
options_of (const GuestfsFs *fs)
{
  const GPtrArray *devices = h2k_btrfs_devices_of (fs->base.volume);
  GString *text = g_string_new (NULL);
  guint i = 0;

  while (mount_options[i].type && strcmp (mount_options[i].type, fs->base.id.type) != 0)
    i++;
  g_string_append (text, fs->base.writable ? mount_options[i].writable : mount_options[i].readonly);
  for (guint k = 1; devices && k < devices->len; k++)
    {
      g_autofree char *label = label_of (fs, k);
      g_string_append_printf (text, ",device=/dev/disk/guestfs/%s", label);
    }
  if (devices && !fs->base.writable)
    g_string_append (text, ",degraded");
  return g_string_free (text, FALSE);
}

char *
h2k_guestfs_device (const GuestfsFs *fs)
{
  return g_strconcat ("/dev/disk/guestfs/", fs->label, NULL);
}

/* The last that the appliance's kernel said about the volume, as one; NULL: nothing. The caller's.
 */
static char *
kernel_words (GuestfsFs *fs, const char *device)
{
  g_autofree char *script
      = g_strdup_printf ("d=$(readlink -f %s); d=${d##*/}; dmesg | sed 's/^\\[[^]]*\\] *//' | "
                         "grep -F -e \"($d)\" -e \"(device $d\" | tail -n %u | cut -c 1-200",
                         device, KERNEL_LINES);
  g_autofree char *text = h2k_guestfs_shell (fs->guestfs, script, NULL);
  g_auto (GStrv) lines = g_strsplit (text ? g_strstrip (text) : "", "\n", -1);
  g_autofree char *words = g_strjoinv (" | ", lines);

  return *words ? h2k_escape_text (words, -1) : NULL;
}

static gboolean
mount_volume (GuestfsFs *fs, GError **error)
{
  H2kGuestfs *a = fs->guestfs;
  g_autofree char *device = h2k_guestfs_device (fs);
  g_autofree char *options = options_of (fs);
  g_autofree char *words = NULL;
  g_autoptr (GError) local = NULL;

  h2k_guestfs_begin_work (a, WORK_SECONDS);
  if (h2k_guestfs_end (a,
                       guestfs_mkmountpoint (a->handle, fs->mountpoint) == 0
                           && guestfs_mount_options (a->handle, options, device, fs->mountpoint)
                                  == 0,
                       NULL, &local))
    return TRUE;
  if (!a->dead)
    {
      words = kernel_words (fs, device);
      h2k_guestfs_begin (a, WORK_SECONDS);
      h2k_guestfs_end (a, guestfs_rmmountpoint (a->handle, fs->mountpoint) == 0, NULL, NULL);
    }
  g_set_error (error, local->domain, local->code, "%s cannot be mounted: %s%s%s",
               fs->base.volume->name, local->message, words ? "; the kernel says: " : "",
               words ? words : "");
  return FALSE;
}

gboolean
h2k_guestfs_mount (GuestfsFs *fs, guestfs_h **handle, GError **error)
{
  if (!h2k_guestfs_is_sound (fs, error) || !ensure_running (fs->guestfs, error))
    return FALSE;
  *handle = fs->guestfs->handle;
  if (fs->mounted)
    return TRUE;
  /* A driver read it until now: it has no log that would have to be replayed before. */
  if (fs->wants_check && !fs->check
      && (!h2k_guestfs_run_check (fs, error) || !h2k_guestfs_is_sound (fs, error)))
    return FALSE;
  g_hash_table_remove_all (fs->stats);
  fs->mounted = mount_volume (fs, error);
  if (!fs->mounted)
    return FALSE;
  fs->touched = fs->base.writable;
  g_clear_pointer (&fs->reader, h2k_fs_free); /* what it knows may become wrong from now on */
  return TRUE;
}

gboolean
h2k_guestfs_unmount (GuestfsFs *fs, GError **error)
{
  guestfs_h *g = fs->guestfs->handle;

  h2k_guestfs_begin_work (fs->guestfs, WORK_SECONDS);
  if (!h2k_guestfs_end (fs->guestfs,
                        guestfs_umount (g, fs->mountpoint) == 0
                            && guestfs_rmmountpoint (g, fs->mountpoint) == 0
                            && guestfs_sync (g) == 0,
                        NULL, error))
    return FALSE;
  fs->mounted = FALSE;
  return TRUE;
}

gboolean
h2k_guestfs_flush (GuestfsFs *fs, GError **error)
{
  H2kGuestfs *a = fs->guestfs;
  gboolean used = FALSE;

  if (!h2k_guestfs_is_sound (fs, error) || (fs->mounted && !h2k_guestfs_unmount (fs, error))
      || (a->handle && fs->wants_check && fs->touched && !h2k_guestfs_run_check (fs, error)))
    return FALSE;
  for (guint i = 0; i < a->files->len; i++)
    used = used || ((GuestfsFs *)a->files->pdata[i])->mounted;
  if (!used)
    end_appliance (a);
  return TRUE;
}

/* --- all -------------------------------------------------------------------------------------- */

H2kGuestfs *
h2k_guestfs_new (H2kKvmFunc kvm_works)
{
  H2kGuestfs *a = g_new0 (H2kGuestfs, 1);

  a->kvm_works = kvm_works;
  a->files = g_ptr_array_new ();
  a->console = g_string_new (NULL);
  g_mutex_init (&a->lock);
  g_cond_init (&a->changed);
  return a;
}

void
h2k_guestfs_free (H2kGuestfs *a)
{
  if (!a)
    return;
  end_appliance (a);
  g_ptr_array_unref (a->files);
  g_string_free (a->console, TRUE);
  g_mutex_clear (&a->lock);
  g_cond_clear (&a->changed);
  g_free (a);
}

/* A label has letters only. */
void
h2k_guestfs_add (H2kGuestfs *a, GuestfsFs *fs)
{
  guint number = a->labels++;

  fs->guestfs = a;
  g_snprintf (fs->label, sizeof fs->label, "volume%c%c%c", 'a' + number / 676 % 26,
              'a' + number / 26 % 26, 'a' + number % 26);
  fs->mountpoint = g_strconcat ("/", fs->label, NULL);
  g_ptr_array_add (a->files, fs);
}

void
h2k_guestfs_remove (H2kGuestfs *a, GuestfsFs *fs)
{
  end_appliance (a); /* what was not flushed is not wanted */
  g_ptr_array_remove (a->files, fs);
}

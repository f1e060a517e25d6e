/* qemu-nbd.c - what only QEMU can read, through a qemu-nbd of our own.
 *
 * Formats that nothing here reads, and protocols of QEMU's block drivers. qemu-nbd(8) opens the
 * image read-only with the format named, so that it neither guesses nor follows the names of
 * further files, and serves it on a socket that loses its name as soon as we are connected. It ends
 * with its last connection, and with us.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"
#include "disk/remote.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINKS 4u
#define START_SECONDS 30
#define END_SECONDS 5
#define STEP (G_USEC_PER_SEC / 100)
#define MAX_MESSAGE 2000

/* OFFSET counts from the file's end when it is negative. */
static const struct
{
  const char *format;
  gint64 offset;
  const char *magic;
  gsize length;
  gboolean backing; /* may be built on another image, which is not followed */
} formats[] = {
    {"qed", 0, "QED\0", 4, TRUE},
    {"qcow", 0, "QFI\xfb\0\0\0\1", 8, TRUE}, /* version 1 */
    {"parallels", 0, "WithoutFreeSpace", 16, FALSE},
    {"parallels", 0, "WithouFreSpacExt", 16, FALSE},
    {"bochs", 0, "Bochs Virtual HD Image", 23, FALSE},
    {"cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", 37, FALSE},
    {"dmg", -512, "koly\0\0\0\4", 8, FALSE},
};

typedef struct
{
  H2kFile file;
  H2kFile *inner; /* the NBD export */
  GSubprocess *process;
} Served;

/* --- which ------------------------------------------------------------------------------------ */

const char *
h2k_qemu_probe (H2kFile *file, const guint8 *head, gsize length)
{
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      guint8 tail[32];
      gsize n = formats[i].length;

      if (formats[i].offset >= 0)
        {
          if (length >= n && memcmp (head, formats[i].magic, n) == 0)
            return formats[i].format;
        }
      else if (file->size >= (guint64)-formats[i].offset && n <= sizeof tail
               && h2k_file_pread (file, file->size + (guint64)formats[i].offset, n, tail, NULL)
               && memcmp (tail, formats[i].magic, n) == 0)
        return formats[i].format;
    }
  return NULL;
}

const char *
h2k_qemu_formats (void)
{
  return "qed, qcow, parallels, bochs, cloop and dmg";
}

static gboolean
may_have_backing (const char *format)
{
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    if (g_str_equal (formats[i].format, format))
      return formats[i].backing;
  return FALSE;
}

gboolean
h2k_qemu_knows (const char *format)
{
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    if (g_str_equal (formats[i].format, format))
      return TRUE;
  return FALSE;
}

/* --- running QEMU's tools --------------------------------------------------------------------- */

static char *
find_tool (const char *name, const char *image, GError **error)
{
  char *path = g_find_program_in_path (name);

  if (!path)
    g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                 "%s: is read by QEMU's %s, which is not installed; install the package qemu-utils "
                 "(Debian, Ubuntu) or qemu-img (Fedora, RHEL)",
                 image, name);
  return path;
}

/* What a tool wrote, as a part of a message. The caller's. */
static char *
tidy (const char *text)
{
  g_autofree char *safe = h2k_escape_text (text ? text : "", -1);
  gsize length = strlen (safe);

  if (length > MAX_MESSAGE)
    safe[MAX_MESSAGE] = '\0';
  g_strdelimit (g_strstrip (safe), "\n", ' ');
  return g_strdup (*safe ? safe : "it gave no reason");
}

/* A "json:" name for QEMU: the file, its format, and nothing below it. The caller's. */
static char *
qemu_name (const char *path, const char *format)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autoptr (JsonNode) root = NULL;
  g_autofree char *text = NULL;
  struct stat st;
  gboolean device = stat (path, &st) == 0 && S_ISBLK (st.st_mode);

  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "driver");
  json_builder_add_string_value (builder, format);
  if (may_have_backing (format))
    {
      json_builder_set_member_name (builder, "backing");
      json_builder_add_null_value (builder);
    }
  json_builder_set_member_name (builder, "file");
  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "driver");
  json_builder_add_string_value (builder, device ? "host_device" : "file");
  json_builder_set_member_name (builder, "filename");
  json_builder_add_string_value (builder, path);
  json_builder_end_object (builder);
  json_builder_end_object (builder);
  root = json_builder_get_root (builder);
  text = json_to_string (root, FALSE);
  return g_strconcat ("json:", text, NULL);
}

static char *
run_info (const char *tool, const char *name, const char *image, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autofree char *out = NULL, *err = NULL, *safe = NULL;
  g_autoptr (GSubprocess) process
      = g_subprocess_new (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, &local,
                          tool, "info", "--output=json", name, NULL);

  if (!process
      || !g_subprocess_communicate_utf8 (process, NULL, g_cancellable_get_current (), &out, &err,
                                         &local))
    {
      if (process)
        g_subprocess_force_exit (process);
      if (!h2k_remote_is_cancelled (error))
        g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "%s: cannot run %s: %s", image, tool,
                     local->message);
      return NULL;
    }
  if (g_subprocess_get_successful (process))
    return g_steal_pointer (&out);
  /* "qemu-img: Could not open 'json:…': the reason" */
  safe = tidy (strstr (err, "}}': ") ? strstr (err, "}}': ") + strlen ("}}': ") : err);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: QEMU cannot read it: %s", image, safe);
  return NULL;
}

static gboolean
has_member (JsonObject *object, const char *name)
{
  return object && json_object_has_member (object, name);
}

/* What QEMU says about the image must be that it stands alone. */
static gboolean
check_alone (const char *name, const char *image, GError **error)
{
  g_autofree char *tool = find_tool ("qemu-img", image, error);
  g_autofree char *text = tool ? run_info (tool, name, image, error) : NULL;
  g_autoptr (GError) local = NULL;
  g_autoptr (JsonNode) node = text ? json_from_string (text, &local) : NULL;
  JsonObject *info = node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;

  if (!text)
    return FALSE;
  if (!info)
    g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "%s: %s did not answer with JSON", image, tool);
  else if (has_member (info, "backing-filename") || has_member (info, "full-backing-filename"))
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: builds on another image, which is not followed in this format; flatten it "
                 "with \"qemu-img convert\" first",
                 image);
  else if (json_object_get_boolean_member_with_default (info, "encrypted", FALSE))
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: is encrypted; decrypt it with \"qemu-img convert\" first", image);
  else
    return TRUE;
  return FALSE;
}

/* --- the server ------------------------------------------------------------------------------- */

static void
child_setup (gpointer data)
{
  /* It must not outlive this process, however that ends. The thread that opens a disk also frees
   * it: the signal does not come too early. */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != (pid_t)GPOINTER_TO_INT (data))
    _exit (127);
  /* A Ctrl-C at the terminal is for this process. */
  setpgid (0, 0);
}

/* A folder for the socket, whose path must fit into an address. The caller's. */
static char *
make_folder (const char *image, GError **error)
{
  const char *const parents[] = {g_get_tmp_dir (), "/tmp"};

  for (guint i = 0; i < G_N_ELEMENTS (parents); i++)
    {
      char *folder = g_build_filename (parents[i], "hyper2kvm-XXXXXX", NULL);

      if (strlen (folder) + sizeof "/nbd" <= sizeof ((struct sockaddr_un *)NULL)->sun_path
          && g_mkdtemp_full (folder, 0700))
        return folder;
      g_free (folder);
    }
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "%s: cannot make a folder for a socket in %s",
                 image, g_get_tmp_dir ());
  return NULL;
}

static gboolean
start (Served *served, const char *name, const char *format, const char *socket, GError **error)
{
  g_autofree char *tool = find_tool ("qemu-nbd", served->file.name, error);
  g_autofree char *shared = g_strdup_printf ("--shared=%u", LINKS);
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (
      G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autoptr (GError) local = NULL;

  if (!tool)
    return FALSE;
  g_ptr_array_add (argv, tool);
  g_ptr_array_add (argv, (char *)"--read-only");
  g_ptr_array_add (argv, shared);
  g_ptr_array_add (argv, (char *)"--socket");
  g_ptr_array_add (argv, (char *)socket);
  if (format)
    {
      g_ptr_array_add (argv, (char *)"--format");
      g_ptr_array_add (argv, (char *)format);
    }
  g_ptr_array_add (argv, (char *)"--");
  g_ptr_array_add (argv, (char *)name);
  g_ptr_array_add (argv, NULL);
  g_subprocess_launcher_set_child_setup (launcher, child_setup, GINT_TO_POINTER (getpid ()), NULL);
  served->process
      = g_subprocess_launcher_spawnv (launcher, (const char *const *)argv->pdata, &local);
  if (!served->process)
    g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "%s: cannot start %s: %s", served->file.name,
                 tool, local->message);
  return served->process != NULL;
}

static gboolean
has_ended (Served *served)
{
  return g_subprocess_get_identifier (served->process) == NULL;
}

static gboolean
set_ended (Served *served, GError **error)
{
  GInputStream *pipe = g_subprocess_get_stderr_pipe (served->process);
  g_autofree char *text = g_malloc0 (MAX_MESSAGE + 1), *safe = NULL;

  g_input_stream_read_all (pipe, text, MAX_MESSAGE, NULL, NULL, NULL);
  safe = tidy (text);
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "%s: qemu-nbd cannot read it: %s",
               served->file.name, safe);
  return FALSE;
}

/* Connect as soon as qemu-nbd listens. */
static gboolean
meet (Served *served, const char *socket, GError **error)
{
  g_autofree char *escaped = g_uri_escape_string (socket, "/", FALSE);
  g_autofree char *uri = g_strconcat ("nbd+unix:///?socket=", escaped, NULL);
  gint64 until = g_get_monotonic_time () + START_SECONDS * (gint64)G_USEC_PER_SEC;

  for (;;)
    {
      g_autoptr (GError) local = NULL;
      gboolean ended = has_ended (served);

      if (h2k_remote_is_cancelled (error))
        return FALSE;
      served->inner = h2k_nbd_open_links (uri, LINKS, &local);
      if (served->inner)
        return TRUE;
      if (ended)
        return set_ended (served, error);
      if (g_get_monotonic_time () > until)
        {
          g_propagate_prefixed_error (error, g_steal_pointer (&local),
                                      "%s: qemu-nbd does not answer: ", served->file.name);
          return FALSE;
        }
      g_usleep (STEP);
    }
}

static gboolean
serve (Served *served, const char *name, const char *format, GError **error)
{
  g_autofree char *folder = make_folder (served->file.name, error);
  g_autofree char *socket = folder ? g_build_filename (folder, "nbd", NULL) : NULL;
  gboolean ok
      = folder && start (served, name, format, socket, error) && meet (served, socket, error);

  if (socket)
    g_unlink (socket);
  if (folder)
    g_rmdir (folder);
  if (!ok)
    return FALSE;
  served->file.size = served->inner->size;
  g_free (served->inner->name);
  served->inner->name = g_strdup (served->file.name);
  return TRUE;
}

/* --- the file --------------------------------------------------------------------------------- */

static gboolean
served_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  return h2k_file_pread (((Served *)file)->inner, offset, length, buffer, error);
}

static gboolean
served_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error)
{
  return h2k_file_extent (((Served *)file)->inner, offset, extent, error);
}

/* It ends by itself with its last connection. */
static void
served_finalize (H2kFile *file)
{
  Served *served = (Served *)file;

  h2k_file_unref (served->inner);
  if (!served->process)
    return;
  for (guint i = 0; i < END_SECONDS * (G_USEC_PER_SEC / STEP) && !has_ended (served); i++)
    {
      if (!served->inner)
        break;
      g_usleep (STEP);
    }
  g_subprocess_force_exit (served->process);
  g_subprocess_wait (served->process, NULL, NULL);
  g_object_unref (served->process);
}

static const H2kFileOps file_ops = {
    .pread = served_pread,
    .extent = served_extent,
    .finalize = served_finalize,
};

static Served *
new_served (const char *path, const char *server)
{
  Served *served = g_new0 (Served, 1);

  h2k_file_init (&served->file, &file_ops, 0, path);
  served->file.server = server;
  return served;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* FILE's absolute path when all of it is a file or device of this host. Of a clone's original it
 * leads through links, after which ".." is elsewhere. The caller's. */
static char *
host_path (H2kFile *file, const char *format, GError **error)
{
  char *real = file->server ? NULL : realpath (file->path, NULL);
  g_autofree char *path = g_strdup (real);
  struct stat st;

  free (real);
  if (path && stat (path, &st) == 0
      && (S_ISBLK (st.st_mode) ? st.st_rdev == file->dev
                               : st.st_dev == file->dev && st.st_ino == file->ino))
    return g_steal_pointer (&path);
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: the format %s is read by QEMU, and only from files of this host; %s it first",
               file->name, format, file->server ? "download" : "unpack");
  return NULL;
}

H2kDisk *
h2k_qemu_open (H2kFile *file, const char *format, GError **error)
{
  g_autofree char *path = host_path (file, format, error);
  g_autofree char *name = path ? qemu_name (path, format) : NULL;
  Served *served = new_served (file->path, NULL);
  g_autoptr (H2kFile) holder = &served->file;
  H2kDisk *disk;

  if (!path || !check_alone (name, file->name, error) || !serve (served, name, NULL, error))
    return NULL;
  disk = h2k_raw_format.open (holder, error);
  if (!disk)
    return NULL;
  g_message ("%s: is read by QEMU (qemu-nbd), as %s", file->name, format);
  g_free (disk->format);
  disk->format = g_strconcat ("qemu:", format, NULL);
  g_clear_pointer (&disk->subformat, g_free);
  return disk;
}

/* Protocols: QEMU moves bytes, formats are read here. */
H2kFile *
h2k_qemu_open_uri (const char *uri, GError **error)
{
  g_autofree char *shown = h2k_uri_shown (uri);
  Served *served = new_served (shown, "qemu-nbd");
  g_autoptr (H2kFile) file = &served->file;

  if (!serve (served, uri, "raw", error))
    {
      if (error && *error && strstr ((*error)->message, "Unknown protocol"))
        g_prefix_error (error, "QEMU's block driver is missing, install the package "
                               "qemu-block-extra (Debian, Ubuntu) or qemu-block-ssh and "
                               "qemu-block-iscsi (Fedora, RHEL): ");
      return NULL;
    }
  g_message ("%s: is read by QEMU (qemu-nbd)", file->name);
  return g_steal_pointer (&file);
}

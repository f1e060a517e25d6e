/* qemu-process.c - starts QEMU, moves the bytes of its channels, and speaks QMP.
 *
 * Follows QEMU's "QMP Protocol Specification" and QAPI schema.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/qemu-process.h"
#include "domain/arch.h"
#include "domain/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bounds for what QEMU may send; a hostile guest may have taken it over. */
#define QMP_LINE_MAX (1 << 20)
#define MESSAGES_MAX (16 * 1024)
#define RESETS_TOGETHER G_TIME_SPAN_SECOND

enum
{
  /* The first ones are the watch's inputs. */
  CHANNEL_QMP = H2K_N_INPUTS,
  CHANNEL_MESSAGES,
  N_CHANNELS,
};

/* VGA's text mode: 25 rows of 80 characters, each with its colours in a second byte. */
#define SCREEN_ADDRESS 0xb8000
#define SCREEN_ROWS 25
#define SCREEN_COLUMNS 80
#define SCREEN_BYTES (SCREEN_ROWS * SCREEN_COLUMNS * 2)
#define SCREEN_ID "screen"
#define PICTURE_ID "picture"
#define PICTURE_WAIT (10 * G_TIME_SPAN_SECOND)

/* The channels' file descriptors in the child, from this one on. */
#define FIRST_CHILD_FD 10

struct _H2kQemu
{
  GSubprocess *process;
  int fds[N_CHANNELS]; /* -1: closed */
  GString *qmp_input;
  GString *messages;
  H2kQemuEvents events;
  gint64 last_reset; /* the last one that was counted */
  char *screen_path; /* NULL: no VGA */
  int picture;       /* of the screen: -1 asked for, 0 refused, 1 there */
};

/* --- starting --------------------------------------------------------------------------------- */

static void add (GPtrArray *args, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
add (GPtrArray *args, const char *format, ...)
{
  va_list ap;

  va_start (ap, format);
  g_ptr_array_add (args, g_strdup_vprintf (format, ap));
  va_end (ap);
}

static void
add_channel (GPtrArray *args, const char *id, guint channel)
{
  add (args, "-chardev");
  add (args, "socket,id=%s,fd=%u", id, FIRST_CHILD_FD + channel);
}

static void
add_display (GPtrArray *args, const H2kArch *arch, gboolean headless)
{
  gboolean desktop = g_getenv ("DISPLAY") != NULL || g_getenv ("WAYLAND_DISPLAY") != NULL;

  /* The guest gets its screen also when nobody looks: it is a part of the VM that is tested. */
  if (strcmp (arch->libvirt, "x86_64") == 0)
    {
      add (args, "-device");
      add (args, "VGA");
    }
  if (!headless && !desktop)
    {
      g_message ("no desktop here: the guest's screen is on VNC, 127.0.0.1 from port 5900 on");
      add (args, "-vnc");
      add (args, "127.0.0.1:0,to=99");
    }
  else if (headless)
    {
      add (args, "-display");
      add (args, "none");
    }
}

/* The marker's port. Windows has no unit to use it, and should find no devices but its own. */
static void
add_marker (GPtrArray *args, gboolean ccw)
{
  add_channel (args, "marker", H2K_INPUT_MARKER);
  add (args, "-device");
  add (args, "virtio-serial-%s", ccw ? "ccw" : "pci");
  add (args, "-device");
  add (args, "virtserialport,chardev=marker,name=" H2K_MARKER_PORT);
}

static void
add_watching (GPtrArray *args, const H2kArch *arch, gboolean windows)
{
  gboolean pc = strcmp (arch->libvirt, "x86_64") == 0;
  gboolean ccw = strcmp (arch->transport, "ccw") == 0;

  add_channel (args, "console", H2K_INPUT_CONSOLE);
  add (args, "-serial");
  add (args, "chardev:console");
  add_channel (args, "qmp", CHANNEL_QMP);
  add (args, "-mon");
  add (args, "chardev=qmp,mode=control");
  if (!windows)
    add_marker (args, ccw);
  if (pc)
    {
      /* SeaBIOS says on this port what it draws on the screen. */
      add_channel (args, "firmware", H2K_INPUT_FIRMWARE);
      add (args, "-device");
      add (args, "isa-debugcon,iobase=0x402,chardev=firmware");
      add (args, "-device");
      add (args, "pvpanic");
    }
}

static GPtrArray *
make_args (const H2kQemuOptions *options, const char *emulator)
{
  const H2kArch *arch = h2k_arch_get (options->domain->arch);
  H2kQemuSetup setup = {.uefi_code = options->uefi_code,
                        .uefi_vars = options->uefi_vars,
                        .accel = options->accel,
                        .throwaway = TRUE};
  GPtrArray *args = h2k_qemu_args (options->domain, &setup);

  g_ptr_array_insert (args, 0, g_strdup (emulator));
  /* Nothing but what is named here: no default devices, no configuration of the user's. */
  add (args, "-nodefaults");
  add (args, "-no-user-config");
  add (args, "-accel");
  add (args, "%s", strcmp (options->accel, "tcg") == 0 ? "tcg,thread=multi" : options->accel);
  add_display (args, arch, options->headless);
  add_watching (args, arch, options->domain->windows != NULL);
  g_ptr_array_add (args, NULL);
  return args;
}

static void
child_setup (gpointer data)
{
  /* QEMU must not outlive this process, however that ends. */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != (pid_t)GPOINTER_TO_INT (data))
    _exit (127);
  /* A Ctrl-C at the terminal is for this process; it ends QEMU when it has understood. */
  setpgid (0, 0);
}

/* A connected pair; the second end is for QEMU. Messages are a plain pipe's job, but a socket does
 * it as well. */
static gboolean
make_channel (H2kQemu *qemu, GSubprocessLauncher *launcher, guint channel, GError **error)
{
  int pair[2];

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_TOOL, errno, "cannot make a socket pair for QEMU");
      return FALSE;
    }
  qemu->fds[channel] = pair[0];
  fcntl (pair[0], F_SETFL, O_NONBLOCK);
  if (channel == CHANNEL_MESSAGES)
    g_subprocess_launcher_take_stderr_fd (launcher, pair[1]);
  else
    g_subprocess_launcher_take_fd (launcher, pair[1], (int)(FIRST_CHILD_FD + channel));
  return TRUE;
}

static void
qmp_send (H2kQemu *qemu, const char *command)
{
  g_autofree char *line = g_strconcat (command, "\n", NULL);

  /* A few hundred bytes into an empty socket; when it fails, QEMU has ended, which shows itself. */
  if (qemu->fds[CHANNEL_QMP] >= 0
      && send (qemu->fds[CHANNEL_QMP], line, strlen (line), MSG_NOSIGNAL) < 0)
    g_debug ("QMP: %s", g_strerror (errno));
}

H2kQemu *
h2k_qemu_start (const H2kQemuOptions *options, GError **error)
{
  const char *name = h2k_arch_get (options->domain->arch)->emulator;
  g_autofree char *emulator = g_find_program_in_path (name);
  g_autoptr (GSubprocessLauncher) launcher
      = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
  g_autoptr (GPtrArray) args = NULL;
  g_autoptr (H2kQemu) qemu = g_new0 (H2kQemu, 1);
  g_autoptr (GError) local = NULL;

  for (guint i = 0; i < N_CHANNELS; i++)
    qemu->fds[i] = -1;
  qemu->qmp_input = g_string_new (NULL);
  qemu->messages = g_string_new (NULL);
  if (emulator == NULL)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                   "the boot test needs %s, which is not installed; install the package %s, or "
                   "leave the boot test out",
                   name,
                   strcmp (name, "qemu-system-x86_64") == 0
                       ? "qemu-system-x86 (Debian) or qemu-kvm (Fedora)"
                       : "of QEMU's system emulators");
      return NULL;
    }
  if (strcmp (name, "qemu-system-x86_64") == 0)
    qemu->screen_path = g_build_filename (options->dir, "screen", NULL);
  args = make_args (options, emulator);
  for (guint i = 0; i < N_CHANNELS; i++)
    if (!make_channel (qemu, launcher, i, error))
      return NULL;
  g_subprocess_launcher_set_child_setup (launcher, child_setup, GINT_TO_POINTER (getpid ()), NULL);
  qemu->process = g_subprocess_launcher_spawnv (launcher, (const char *const *)args->pdata, &local);
  /* The launcher holds QEMU's ends of the pairs: an end of file needs them closed. */
  g_subprocess_launcher_close (launcher);
  if (qemu->process == NULL)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "cannot start %s: %s", emulator,
                   local->message);
      return NULL;
    }
  qmp_send (qemu, "{\"execute\":\"qmp_capabilities\"}");
  return g_steal_pointer (&qemu);
}

void
h2k_qemu_free (H2kQemu *qemu)
{
  if (qemu == NULL)
    return;
  if (qemu->process != NULL)
    {
      g_subprocess_force_exit (qemu->process);
      g_subprocess_wait (qemu->process, NULL, NULL);
      g_object_unref (qemu->process);
    }
  for (guint i = 0; i < N_CHANNELS; i++)
    if (qemu->fds[i] >= 0)
      close (qemu->fds[i]);
  if (qemu->screen_path != NULL)
    g_unlink (qemu->screen_path);
  g_free (qemu->screen_path);
  g_string_free (qemu->qmp_input, TRUE);
  g_string_free (qemu->messages, TRUE);
  g_free (qemu);
}

/* --- QMP -------------------------------------------------------------------------------------- */

static JsonObject *
member_object (JsonObject *object, const char *name)
{
  JsonNode *node = object == NULL ? NULL : json_object_get_member (object, name);

  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static gint64
member_int (JsonObject *object, const char *name)
{
  JsonNode *node = object == NULL ? NULL : json_object_get_member (object, name);

  return node != NULL && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_int (node) : 0;
}

static gboolean
member_true (JsonObject *object, const char *name)
{
  JsonNode *node = object == NULL ? NULL : json_object_get_member (object, name);

  return node != NULL && json_node_get_value_type (node) == G_TYPE_BOOLEAN
         && json_node_get_boolean (node);
}

static const char *
member_string (JsonObject *object, const char *name)
{
  JsonNode *node = object == NULL ? NULL : json_object_get_member (object, name);

  return node != NULL && json_node_get_value_type (node) == G_TYPE_STRING
             ? json_node_get_string (node)
             : "";
}

/* A kernel that reboots tries several ways at once (ACPI, the keyboard controller): one reboot. */
static void
on_reset (H2kQemu *qemu)
{
  gint64 now = g_get_monotonic_time ();

  if (qemu->events.guest_resets > 0 && now - qemu->last_reset < RESETS_TOGETHER)
    return;
  qemu->last_reset = now;
  qemu->events.guest_resets++;
}

/* Windows tells the hypervisor its stop code, if it is one of Microsoft's, by the first of five
 * numbers. */
static void
on_panic (H2kWatch *watch, JsonObject *info)
{
  g_autofree char *line = NULL;

  if (strcmp (member_string (info, "type"), "hyper-v") != 0)
    return;
  line = g_strdup_printf ("*** STOP: 0x%08" G_GINT64_MODIFIER "X", member_int (info, "arg1"));
  h2k_watch_report (watch, line, g_get_monotonic_time ());
}

static void
on_event (H2kQemu *qemu, H2kWatch *watch, const char *name, JsonObject *data)
{
  H2kQemuEvents *events = &qemu->events;

  if (strcmp (name, "RESET") == 0 && member_true (data, "guest"))
    on_reset (qemu);
  else if (strcmp (name, "SHUTDOWN") == 0)
    events->shutdown |= member_true (data, "guest");
  else if (strcmp (name, "GUEST_PANICKED") == 0)
    {
      events->panicked = TRUE;
      on_panic (watch, member_object (data, "info"));
    }
  else if (strcmp (name, "BLOCK_IO_ERROR") == 0
           && strcmp (member_string (data, "action"), "stop") == 0)
    {
      events->io_error = TRUE;
      events->no_space |= member_true (data, "nospace");
    }
}

/* The answer to query-blockstats, the only one with an array of objects that have "stats". */
static void
on_answer (H2kQemu *qemu, JsonNode *node)
{
  JsonArray *devices = JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  guint64 requests = 0;

  for (guint i = 0; devices != NULL && i < json_array_get_length (devices); i++)
    {
      JsonNode *element = json_array_get_element (devices, i);
      JsonObject *device = JSON_NODE_HOLDS_OBJECT (element) ? json_node_get_object (element) : NULL;
      JsonObject *stats = member_object (device, "stats");

      requests += (guint64)member_int (stats, "rd_operations")
                  + (guint64)member_int (stats, "wr_operations");
    }
  if (devices != NULL)
    qemu->events.block_requests = requests;
}

/* The file that pmemsave wrote, as text for WATCH. What is no printable ASCII is drawn: frames. */
static void
read_screen (H2kQemu *qemu, H2kWatch *watch)
{
  g_autofree char *cells = NULL;
  g_autoptr (GString) text = g_string_new (NULL);
  gsize length;

  if (!g_file_get_contents (qemu->screen_path, &cells, &length, NULL) || length < SCREEN_BYTES)
    return;
  for (guint row = 0; row < SCREEN_ROWS; row++)
    {
      for (guint column = 0; column < SCREEN_COLUMNS; column++)
        {
          char c = cells[(row * SCREEN_COLUMNS + column) * 2];

          g_string_append_c (text, g_ascii_isprint (c) ? c : ' ');
        }
      while (text->len > 0 && text->str[text->len - 1] == ' ')
        g_string_truncate (text, text->len - 1);
      g_string_append_c (text, '\n');
    }
  h2k_watch_screen (watch, text->str, g_get_monotonic_time ());
}

static void
qmp_line (H2kQemu *qemu, H2kWatch *watch, const char *line, gsize length)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonNode *root;
  JsonObject *object;

  if (!json_parser_load_from_data (parser, line, (gssize)length, NULL))
    return;
  root = json_parser_get_root (parser);
  if (root == NULL || !JSON_NODE_HOLDS_OBJECT (root))
    return;
  object = json_node_get_object (root);
  if (json_object_has_member (object, "event"))
    on_event (qemu, watch, member_string (object, "event"), member_object (object, "data"));
  else if (strcmp (member_string (object, "id"), PICTURE_ID) == 0)
    qemu->picture = json_object_has_member (object, "return") ? 1 : 0;
  else if (strcmp (member_string (object, "id"), SCREEN_ID) == 0
           && json_object_has_member (object, "return"))
    read_screen (qemu, watch);
  else if (json_object_has_member (object, "return"))
    on_answer (qemu, json_object_get_member (object, "return"));
  else if (json_object_has_member (object, "error"))
    g_debug ("QMP: %s", member_string (member_object (object, "error"), "desc"));
}

static void
qmp_input (H2kQemu *qemu, H2kWatch *watch, const char *data, gsize length)
{
  char *end;

  g_string_append_len (qemu->qmp_input, data, (gssize)length);
  while ((end = memchr (qemu->qmp_input->str, '\n', qemu->qmp_input->len)) != NULL)
    {
      gsize line = (gsize)(end - qemu->qmp_input->str);

      qmp_line (qemu, watch, qemu->qmp_input->str, line);
      g_string_erase (qemu->qmp_input, 0, (gssize)line + 1);
    }
  if (qemu->qmp_input->len > QMP_LINE_MAX)
    g_string_truncate (qemu->qmp_input, 0);
}

void
h2k_qemu_ask_progress (H2kQemu *qemu)
{
  qmp_send (qemu, "{\"execute\":\"query-blockstats\",\"arguments\":{}}");
}

void
h2k_qemu_ask_screen (H2kQemu *qemu)
{
  g_autoptr (JsonBuilder) builder = NULL;
  g_autoptr (JsonNode) root = NULL;
  g_autofree char *command = NULL;

  if (qemu->screen_path == NULL)
    return;
  builder = json_builder_new ();
  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "execute");
  json_builder_add_string_value (builder, "pmemsave");
  json_builder_set_member_name (builder, "id");
  json_builder_add_string_value (builder, SCREEN_ID);
  json_builder_set_member_name (builder, "arguments");
  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "val");
  json_builder_add_int_value (builder, SCREEN_ADDRESS);
  json_builder_set_member_name (builder, "size");
  json_builder_add_int_value (builder, SCREEN_BYTES);
  json_builder_set_member_name (builder, "filename");
  json_builder_add_string_value (builder, qemu->screen_path);
  json_builder_end_object (builder);
  json_builder_end_object (builder);
  root = json_builder_get_root (builder);
  command = json_to_string (root, FALSE);
  qmp_send (qemu, command);
}

static void
ask_picture (H2kQemu *qemu, const char *path)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autoptr (JsonNode) root = NULL;
  g_autofree char *command = NULL;

  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "execute");
  json_builder_add_string_value (builder, "screendump");
  json_builder_set_member_name (builder, "id");
  json_builder_add_string_value (builder, PICTURE_ID);
  json_builder_set_member_name (builder, "arguments");
  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "filename");
  json_builder_add_string_value (builder, path);
  json_builder_set_member_name (builder, "format");
  json_builder_add_string_value (builder, "png");
  json_builder_end_object (builder);
  json_builder_end_object (builder);
  root = json_builder_get_root (builder);
  command = json_to_string (root, FALSE);
  qmp_send (qemu, command);
}

gboolean
h2k_qemu_save_screen (H2kQemu *qemu, H2kWatch *watch, const char *path)
{
  gint64 end = g_get_monotonic_time () + PICTURE_WAIT;

  qemu->picture = -1;
  ask_picture (qemu, path);
  while (qemu->picture < 0 && g_get_monotonic_time () < end)
    if (!h2k_qemu_wait (qemu, watch, end, NULL))
      return FALSE;
  return qemu->picture == 1;
}

void
h2k_qemu_press_reset_keys (H2kQemu *qemu)
{
  qmp_send (qemu, "{\"execute\":\"send-key\",\"arguments\":{\"keys\":["
                  "{\"type\":\"qcode\",\"data\":\"ctrl\"},{\"type\":\"qcode\",\"data\":\"alt\"},"
                  "{\"type\":\"qcode\",\"data\":\"delete\"}]}}");
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void
on_data (H2kQemu *qemu, H2kWatch *watch, guint channel, const char *data, gsize length)
{
  if (channel < H2K_N_INPUTS)
    h2k_watch_feed (watch, (H2kInput)channel, (const guint8 *)data, length,
                    g_get_monotonic_time ());
  else if (channel == CHANNEL_QMP)
    qmp_input (qemu, watch, data, length);
  else if (qemu->messages->len < MESSAGES_MAX)
    g_string_append_len (qemu->messages, data,
                         (gssize)MIN (length, MESSAGES_MAX - qemu->messages->len));
}

/* Read what there is on CHANNEL, at most a bounded amount: a guest that writes without end must not
 * keep the time out from being looked at. */
static void
drain (H2kQemu *qemu, H2kWatch *watch, guint channel)
{
  char buffer[8192];

  for (guint i = 0; i < 64; i++)
    {
      ssize_t n = read (qemu->fds[channel], buffer, sizeof buffer);

      if (n > 0)
        on_data (qemu, watch, channel, buffer, (gsize)n);
      else if (n < 0 && errno == EINTR)
        continue;
      else if (n < 0 && errno == EAGAIN)
        return;
      else
        {
          close (qemu->fds[channel]);
          qemu->fds[channel] = -1;
          return;
        }
    }
}

gboolean
h2k_qemu_wait (H2kQemu *qemu, H2kWatch *watch, gint64 until, GCancellable *cancellable)
{
  GPollFD polls[N_CHANNELS + 1] = {0};
  guint n = N_CHANNELS;
  gint64 left = MAX (until - g_get_monotonic_time (), 0);
  gboolean have_cancel;

  for (guint i = 0; i < N_CHANNELS; i++)
    {
      polls[i].fd = qemu->fds[i]; /* poll() passes over -1 */
      polls[i].events = G_IO_IN;
    }
  have_cancel = cancellable != NULL && g_cancellable_make_pollfd (cancellable, &polls[n]);
  g_poll (polls, have_cancel ? n + 1 : n,
          (int)MIN ((left + 999) / 1000, 60 * G_TIME_SPAN_MILLISECOND));
  if (have_cancel)
    g_cancellable_release_fd (cancellable);
  for (guint i = 0; i < N_CHANNELS; i++)
    if (qemu->fds[i] >= 0 && polls[i].revents != 0)
      drain (qemu, watch, i);
  /* QEMU holds all of them until it ends. */
  return qemu->fds[CHANNEL_QMP] >= 0;
}

const H2kQemuEvents *
h2k_qemu_events (const H2kQemu *qemu)
{
  return &qemu->events;
}

char *
h2k_qemu_messages (const H2kQemu *qemu)
{
  g_autofree char *text = h2k_escape_text (qemu->messages->str, (gssize)qemu->messages->len);

  return g_strdup (g_strchomp (text));
}

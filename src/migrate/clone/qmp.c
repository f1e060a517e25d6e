/* qmp.c - commands to a QEMU that somebody else started.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/qmp.h"
#include "util/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES (4u << 20)
#define ANSWER_WAIT (10 * G_TIME_SPAN_SECOND)

struct _H2kQmp
{
  int fd;
  GString *input;
};

/* A socket's address has room for 107 bytes: the folder is named by a descriptor. */
static int
connect_to (const char *path)
{
  g_autofree char *dir = g_path_get_dirname (path);
  g_autofree char *name = g_path_get_basename (path);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int folder = open (dir, O_PATH | O_DIRECTORY | O_CLOEXEC), saved;
  int fd = folder < 0 ? -1 : socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_snprintf (address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
  if (fd >= 0 && connect (fd, (struct sockaddr *)&address, sizeof address) != 0)
    {
      saved = errno;
      close (fd);
      errno = saved;
      fd = -1;
    }
  saved = errno;
  if (folder >= 0)
    close (folder);
  errno = saved;
  return fd;
}

/* Wait for input until UNTIL and take it. FALSE: there is none, or no more. */
static gboolean
read_some (H2kQmp *qmp, gint64 until)
{
  struct pollfd poll_fd = {.fd = qmp->fd, .events = POLLIN};
  gint64 left = MAX (until - g_get_monotonic_time (), 0);
  char buffer[4096];
  ssize_t n;

  if (qmp->input->len > LINE_MAX_BYTES || poll (&poll_fd, 1, (int)((left + 999) / 1000)) <= 0)
    return FALSE;
  n = read (qmp->fd, buffer, sizeof buffer);
  if (n > 0)
    g_string_append_len (qmp->input, buffer, n);
  return n > 0;
}

/* The next line of input, an object, the caller's; NULL: none until UNTIL. */
static JsonObject *
next_object (H2kQmp *qmp, gint64 until)
{
  char *end;

  while ((end = memchr (qmp->input->str, '\n', qmp->input->len)) == NULL)
    if (!read_some (qmp, until))
      return NULL;
  gssize length = end - qmp->input->str;
  g_autoptr (JsonNode) root = h2k_json_parse (qmp->input->str, (gsize)length, NULL);

  g_string_erase (qmp->input, 0, length + 1);
  return root && JSON_NODE_HOLDS_OBJECT (root) ? json_object_ref (json_node_get_object (root))
                                               : json_object_new ();
}

/* The next object that has a member KEY or "error"; events are passed over. */
static JsonObject *
next_with (H2kQmp *qmp, const char *key)
{
  gint64 until = g_get_monotonic_time () + ANSWER_WAIT;
  JsonObject *object;

  while ((object = next_object (qmp, until)) != NULL)
    {
      if (json_object_has_member (object, key) || json_object_has_member (object, "error"))
        return object;
      json_object_unref (object);
    }
  return NULL;
}

H2kQmp *
h2k_qmp_open (const char *path, GError **error)
{
  g_autoptr (H2kQmp) qmp = g_new0 (H2kQmp, 1);
  g_autoptr (JsonObject) greeting = NULL;
  g_autoptr (JsonNode) answer = NULL;

  qmp->input = g_string_new (NULL);
  qmp->fd = connect_to (path);
  if (qmp->fd < 0)
    {
      h2k_set_errno (error, H2K_ERROR_TOOL, errno, "QEMU's socket %s", path);
      return NULL;
    }
  greeting = next_with (qmp, "QMP");
  if (!greeting)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                   "QEMU does not answer on its socket %s: another program may use it", path);
      return NULL;
    }
  answer = h2k_qmp_run (qmp, "qmp_capabilities", NULL, error);
  return answer ? g_steal_pointer (&qmp) : NULL;
}

void
h2k_qmp_free (H2kQmp *qmp)
{
  if (!qmp)
    return;
  if (qmp->fd >= 0)
    close (qmp->fd);
  g_string_free (qmp->input, TRUE);
  g_free (qmp);
}

static gboolean
send_command (H2kQmp *qmp, const char *command, JsonObject *arguments)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *o = json_object_new ();
  g_autofree char *text = NULL;
  g_autofree char *line = NULL;

  json_node_take_object (node, o);
  json_object_set_string_member (o, "execute", command);
  if (arguments)
    json_object_set_object_member (o, "arguments", arguments);
  text = json_to_string (node, FALSE);
  line = g_strconcat (text, "\n", NULL);
  return send (qmp->fd, line, strlen (line), MSG_NOSIGNAL) == (ssize_t)strlen (line);
}

JsonNode *
h2k_qmp_run (H2kQmp *qmp, const char *command, JsonObject *arguments, GError **error)
{
  gboolean sent = send_command (qmp, command, arguments);
  g_autoptr (JsonObject) answer = sent ? next_with (qmp, "return") : NULL;
  const char *refusal = h2k_json_string (h2k_json_object (answer, "error"), "desc");
  g_autofree char *escaped = refusal ? h2k_escape_text (refusal, -1) : NULL;

  if (answer && json_object_has_member (answer, "return"))
    return json_node_copy (json_object_get_member (answer, "return"));
  g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "QEMU's %s: %s", command,
               escaped ? escaped : "no answer");
  return NULL;
}

int
h2k_qmp_fd (const H2kQmp *qmp)
{
  return qmp->fd;
}

gboolean
h2k_qmp_drain (H2kQmp *qmp)
{
  struct pollfd poll_fd = {.fd = qmp->fd, .events = POLLIN};

  for (guint i = 0; i < 64 && poll (&poll_fd, 1, 0) > 0; i++)
    if (!read_some (qmp, 0))
      return FALSE;
  /* Whole lines only: the beginning of the next one stays. */
  for (char *end; (end = memchr (qmp->input->str, '\n', qmp->input->len)) != NULL;)
    g_string_erase (qmp->input, 0, end - qmp->input->str + 1);
  return TRUE;
}

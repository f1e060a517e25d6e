/* sftp.c - files on SSH servers, through libssh's SFTP.
 *
 * A URI is ssh://[USER@]HOST[:PORT]/PATH (or sftp://), with the absolute path percent-encoded. The
 * host's key has to be known, and the user is let in by an agent or a key without a passphrase, as
 * with "ssh -o BatchMode=yes": nobody is asked anything. ~/.ssh/config is obeyed. What is read has
 * to stay the same file: its size and time of change are pinned.
 *
 * A link is a session of its own with the file open; requests are pipelined on each.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/remote.h"

#include <fcntl.h>
#include <libssh/libssh.h>
#include <libssh/sftp.h>
#include <poll.h>
#include <sys/stat.h>

#define MAX_LINKS 4u
#define REQUEST 32768u /* bytes; what every server answers in one piece */
#define AT_ONCE 32u    /* requests on a link */
#define TICK_MS 100

typedef struct
{
  H2kRemote remote;
  char *user, *host, *path; /* USER NULL: as configured */
  int port;                 /* -1: as configured */
  gboolean opened;
  guint64 size;
  guint64 changed; /* seconds since 1970 */
} Sftp;

typedef struct
{
  ssh_session session;
  sftp_session sftp;
  sftp_file file;
} Link;

static void
sftp_disconnect (gpointer data)
{
  Link *link = data;

  if (link->file)
    sftp_close (link->file);
  if (link->sftp)
    sftp_free (link->sftp);
  if (link->session)
    {
      ssh_disconnect (link->session);
      ssh_free (link->session);
    }
  g_free (link);
}

/* Always FALSE. */
static gboolean
set_error (GError **error, const Sftp *sftp, const char *what, const char *why)
{
  g_autofree char *safe = h2k_escape_text (why ? why : "", -1);

  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "%s: %s%s%s", sftp->remote.file.name, what,
               *safe ? ": " : "", safe);
  return FALSE;
}

/* --- letting each other in -------------------------------------------------------------------- */

static gboolean
check_host (const Sftp *sftp, ssh_session session, GError **error)
{
  switch (ssh_session_is_known_server (session))
    {
    case SSH_KNOWN_HOSTS_OK:
      return TRUE;
    case SSH_KNOWN_HOSTS_CHANGED:
    case SSH_KNOWN_HOSTS_OTHER:
      return set_error (error, sftp,
                        "the host's key is not the one that is known: somebody may be in between; "
                        "if it was renewed, remove the old one with \"ssh-keygen -R\" and log in "
                        "with ssh once",
                        NULL);
    case SSH_KNOWN_HOSTS_UNKNOWN:
    case SSH_KNOWN_HOSTS_NOT_FOUND:
      return set_error (error, sftp,
                        "the host's key is not known: log in with ssh once and compare it, or name "
                        "a file of known hosts in H2K_KNOWN_HOSTS",
                        NULL);
    default:
      return set_error (error, sftp, "the host's key cannot be checked", ssh_get_error (session));
    }
}

static gboolean
log_in (const Sftp *sftp, ssh_session session, GError **error)
{
  int result = ssh_userauth_none (session, NULL);

  if (result != SSH_AUTH_SUCCESS)
    result = ssh_userauth_publickey_auto (session, NULL, NULL);
  if (result == SSH_AUTH_SUCCESS)
    return TRUE;
  return set_error (error, sftp,
                    "the server does not let the user in: it takes a key in ~/.ssh without a "
                    "passphrase or in an agent, or the one that H2K_SSH_KEY names",
                    ssh_get_error (session));
}

static gboolean
set_options (const Sftp *sftp, ssh_session session)
{
  long stall = (long)h2k_remote_stall ();
  const char *hosts = g_getenv ("H2K_KNOWN_HOSTS"), *key = g_getenv ("H2K_SSH_KEY");
  const struct
  {
    enum ssh_options_e option;
    const void *value; /* NULL: as configured */
  } options[] = {
      {SSH_OPTIONS_HOST, sftp->host},  {SSH_OPTIONS_PORT, sftp->port > 0 ? &sftp->port : NULL},
      {SSH_OPTIONS_USER, sftp->user},  {SSH_OPTIONS_TIMEOUT, &stall},
      {SSH_OPTIONS_KNOWNHOSTS, hosts}, {SSH_OPTIONS_GLOBAL_KNOWNHOSTS, hosts},
      {SSH_OPTIONS_ADD_IDENTITY, key},
  };

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    if (options[i].value
        && ssh_options_set (session, options[i].option, options[i].value) != SSH_OK)
      return FALSE;
  return TRUE;
}

/* --- the file --------------------------------------------------------------------------------- */

static gboolean
open_file (Sftp *sftp, Link *link, H2kTrouble *trouble, GError **error)
{
  sftp_attributes attributes;
  gboolean same;

  link->file = sftp_open (link->sftp, sftp->path, O_RDONLY, 0);
  if (!link->file)
    {
      int code = sftp_get_error (link->sftp);
      trouble->again = sftp->opened && code != SSH_FX_NO_SUCH_FILE;
      return set_error (error, sftp,
                        code == SSH_FX_NO_SUCH_FILE        ? "there is no such file on the server"
                        : code == SSH_FX_PERMISSION_DENIED ? "the user may not read it there"
                                                           : "it cannot be opened there",
                        NULL);
    }
  attributes = sftp_fstat (link->file);
  if (!attributes || attributes->type == SSH_FILEXFER_TYPE_DIRECTORY)
    {
      sftp_attributes_free (attributes);
      return set_error (error, sftp, "it is no file, or the server does not say how large it is",
                        NULL);
    }
  same = !sftp->opened || (attributes->size == sftp->size && attributes->mtime == sftp->changed);
  sftp->size = sftp->opened ? sftp->size : attributes->size;
  sftp->changed = sftp->opened ? sftp->changed : attributes->mtime;
  sftp_attributes_free (attributes);
  return same
         || set_error (error, sftp,
                       "the file changed while it was read; wait until nobody writes it and start "
                       "again",
                       NULL);
}

static gboolean
open_link (Sftp *sftp, Link *link, H2kTrouble *trouble, GError **error)
{
  trouble->again = FALSE;
  link->session = ssh_new ();
  if (!link->session || !set_options (sftp, link->session))
    return set_error (error, sftp, "libssh cannot be used", NULL);
  if (ssh_connect (link->session) != SSH_OK)
    {
      trouble->again = sftp->opened;
      return set_error (error, sftp, "cannot connect", ssh_get_error (link->session));
    }
  if (!check_host (sftp, link->session, error) || !log_in (sftp, link->session, error))
    return FALSE;
  link->sftp = sftp_new (link->session);
  if (!link->sftp || sftp_init (link->sftp) != SSH_OK)
    {
      trouble->again = sftp->opened;
      return set_error (error, sftp, "the server has no SFTP", ssh_get_error (link->session));
    }
  return open_file (sftp, link, trouble, error);
}

static gpointer
sftp_connect_link (H2kRemote *remote, H2kTrouble *trouble, GError **error)
{
  Link *link = g_new0 (Link, 1);

  if (open_link ((Sftp *)remote, link, trouble, error))
    {
      sftp_file_set_nonblocking (link->file);
      return link;
    }
  sftp_disconnect (link);
  return NULL;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The answer to request ID, LENGTH bytes at the most: their number, or -1. The server may be silent
 * for as long as a stall lasts. */
static int
take_answer (Link *link, guint32 id, guint8 *buffer, guint32 length, GError **error)
{
  gint64 until = g_get_monotonic_time () + (gint64)h2k_remote_stall () * (gint64)G_USEC_PER_SEC;
  struct pollfd wait = {.fd = ssh_get_fd (link->session), .events = POLLIN};
  int n;

  while ((n = sftp_async_read (link->file, buffer, length, id)) == SSH_AGAIN)
    {
      if (h2k_remote_is_cancelled (error) || g_get_monotonic_time () > until)
        return -1;
      (void)poll (&wait, 1, TICK_MS);
    }
  return n;
}

/* A server may send less of each piece: READ goes on after the last byte that came in order. */
static gboolean
read_window (Sftp *sftp, Link *link, H2kRemoteRead *read, H2kTrouble *trouble, GError **error)
{
  guint32 lengths[AT_ONCE];
  int ids[AT_ONCE];
  gsize asked = 0;
  gboolean whole = TRUE, ok = TRUE;
  guint count = 0;

  sftp_seek64 (link->file, read->offset);
  for (; count < AT_ONCE && asked < read->length; count++)
    {
      lengths[count] = (guint32)MIN (read->length - asked, REQUEST);
      ids[count] = sftp_async_read_begin (link->file, lengths[count]);
      if (ids[count] < 0)
        break;
      asked += lengths[count];
    }
  ok = count > 0;
  for (guint i = 0; ok && i < count; i++)
    {
      guint8 spare[REQUEST];
      int n = take_answer (link, (guint32)ids[i], whole ? read->buffer : spare, lengths[i], error);

      ok = n > 0;
      if (!ok || !whole)
        continue;
      read->offset += (guint)n;
      read->length -= (guint)n;
      read->buffer += n;
      whole = (guint32)n == lengths[i];
    }
  if (ok)
    return TRUE;
  /* Answers may be under way. */
  trouble->broken = TRUE;
  trouble->again = TRUE;
  if (!error || !*error)
    set_error (error, sftp, "the connection broke, or the file is shorter now",
               ssh_get_error (link->session));
  return FALSE;
}

static gboolean
sftp_read_all (H2kRemote *remote, gpointer link, H2kRemoteRead *read, H2kTrouble *trouble,
               GError **error)
{
  while (read->length)
    if (!read_window ((Sftp *)remote, link, read, trouble, error))
      return FALSE;
  return TRUE;
}

static const H2kRemoteOps remote_ops = {
    .direct = 128 << 10,
    .connect = sftp_connect_link,
    .disconnect = sftp_disconnect,
    .read = sftp_read_all,
};

/* --- the kind --------------------------------------------------------------------------------- */

static void
sftp_finalize (H2kFile *file)
{
  Sftp *sftp = (Sftp *)file;

  h2k_remote_clear (&sftp->remote);
  g_free (sftp->user);
  g_free (sftp->host);
  g_free (sftp->path);
}

static const H2kFileOps file_ops = {
    .pread = h2k_remote_pread,
    .finalize = sftp_finalize,
};

static gboolean
take_uri (Sftp *sftp, const char *text, GError **error)
{
  g_autoptr (GUri) uri = g_uri_parse (text, G_URI_FLAGS_HAS_PASSWORD, NULL);
  const char *wrong = NULL;

  if (!uri || !g_uri_get_host (uri) || !*g_uri_get_host (uri))
    wrong = "is no URI like ssh://user@host/path";
  else if (g_uri_get_password (uri))
    wrong = "has a password in it, which others can see: use a key or an agent";
  else if (!*g_uri_get_path (uri) || g_str_has_suffix (g_uri_get_path (uri), "/"))
    wrong = "names no file";
  else if (g_uri_get_query (uri) || g_uri_get_fragment (uri))
    wrong = "has a query: a ? in a name is written %3F, and a # %23";
  if (wrong)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "%s: %s", sftp->remote.file.name, wrong);
      return FALSE;
    }
  sftp->host = g_strdup (g_uri_get_host (uri));
  sftp->user = g_strdup (g_uri_get_user (uri));
  sftp->port = g_uri_get_port (uri);
  sftp->path = g_strdup (g_uri_get_path (uri));
  return TRUE;
}

static gboolean
try_open (H2kRemote *remote, gpointer link, gpointer job, H2kTrouble *trouble, GError **error)
{
  return TRUE;
}

H2kFile *
h2k_sftp_open (const char *uri, GError **error)
{
  Sftp *sftp = g_new0 (Sftp, 1);
  g_autoptr (H2kFile) file = &sftp->remote.file;

  h2k_remote_init (&sftp->remote, &file_ops, &remote_ops, uri, "ssh");
  sftp->remote.max_links = MAX_LINKS;
  if (!take_uri (sftp, uri, error) || !h2k_remote_run (&sftp->remote, try_open, NULL, error))
    return NULL;
  sftp->opened = TRUE;
  file->size = sftp->size;
  file->version = g_strdup_printf ("changed %" G_GUINT64_FORMAT, sftp->changed);
  return g_steal_pointer (&file);
}

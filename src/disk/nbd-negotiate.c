/* nbd-negotiate.c - the first half of an NBD connection: what the client wants, and may have.
 *
 * Follows "Fixed newstyle negotiation" and "Option types" of NBD's doc/proto.md, without TLS. The
 * whole of it has a deadline, and options have a largest length.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/nbd-protocol.h"

#define MAX_OPTION ((guint32)64 << 10) /* bytes that are looked at */
#define MAX_SKIPPED ((guint32)1 << 20) /* more is not even skipped */
#define REPLY_HEADER 20
#define CONTEXT_ID 1

typedef enum
{
  NEXT, /* another option may follow */
  USE,  /* the client begins to use the export */
  END,  /* the connection ends */
} Outcome;

typedef struct
{
  NbdConnection *connection;
  guint32 number, length;
  const guint8 *data;
} Option;

/* --- replies ---------------------------------------------------------------------------------- */

static Outcome
reply (const Option *o, guint32 type, const void *data, gsize length)
{
  guint8 header[REPLY_HEADER];
  struct iovec pieces[] = {{header, sizeof header}, {(void *)data, length}};
  guint8 *p = h2k_nbd_put64 (header, NBD_OPTION_REPLY_MAGIC);

  p = h2k_nbd_put32 (p, o->number);
  p = h2k_nbd_put32 (p, type);
  h2k_nbd_put32 (p, (guint32)length);
  return h2k_nbd_send (o->connection, pieces, G_N_ELEMENTS (pieces)) ? NEXT : END;
}

static Outcome
acknowledge (const Option *o)
{
  return reply (o, NBD_REP_ACK, NULL, 0);
}

/* TEXT is for people. */
static Outcome
refuse (const Option *o, guint32 type, const char *text)
{
  g_debug ("nbd: option %u is refused: %s", o->number, text);
  return reply (o, type, text, strlen (text));
}

static Outcome
refuse_invalid (const Option *o)
{
  return refuse (o, NBD_REP_ERR_INVALID, "the option's data are not as the protocol has them");
}

static Outcome
refuse_export (const Option *o)
{
  return refuse (o, NBD_REP_ERR_UNKNOWN, "there is no export of this name");
}

/* --- parsing ---------------------------------------------------------------------------------- */

typedef struct
{
  const guint8 *at;
  gsize left;
} Cursor;

static gboolean
take (Cursor *cursor, gsize length, const guint8 **data)
{
  if (length > cursor->left)
    return FALSE;
  *data = cursor->at;
  cursor->at += length;
  cursor->left -= length;
  return TRUE;
}

static gboolean
take32 (Cursor *cursor, guint32 *value)
{
  const guint8 *data;

  if (!take (cursor, sizeof *value, &data))
    return FALSE;
  *value = h2k_be32 (data);
  return TRUE;
}

/* A string behind its length. */
static gboolean
take_string (Cursor *cursor, const guint8 **text, guint32 *length)
{
  return take32 (cursor, length) && *length <= NBD_STRING_MAX && take (cursor, *length, text);
}

static gboolean
is_text (const guint8 *data, gsize length, const char *text)
{
  return length == strlen (text) && memcmp (data, text, length) == 0;
}

/* --- options ---------------------------------------------------------------------------------- */

static guint16
transmission_flags (const NbdConnection *c)
{
  guint flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA
                | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE;

  if (c->structured)
    flags |= NBD_FLAG_SEND_DF;
  if (c->server->writable)
    flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
  else
    flags |= NBD_FLAG_READ_ONLY;
  return (guint16)flags;
}

/* The only option whose refusal cannot be said. */
static Outcome
export_name (const Option *o)
{
  NbdConnection *c = o->connection;
  guint8 message[8 + 2 + 124] = {0};
  struct iovec piece = {message, c->no_zeroes ? 8 + 2 : sizeof message};

  if (!is_text (o->data, o->length, c->server->name))
    return END;
  h2k_nbd_put16 (h2k_nbd_put64 (message, c->server->disk->size), transmission_flags (c));
  return h2k_nbd_send (c, &piece, 1) ? USE : END;
}

static Outcome
end_session (const Option *o)
{
  acknowledge (o);
  return END;
}

static Outcome
list (const Option *o)
{
  const H2kNbdServer *server = o->connection->server;
  g_autofree guint8 *data = NULL;
  gsize name = strlen (server->name), description = strlen (server->description);
  guint8 *p;

  if (o->length)
    return refuse_invalid (o);
  data = g_malloc (4 + name + description);
  p = h2k_nbd_put32 (data, (guint32)name);
  memcpy (p, server->name, name);
  memcpy (p + name, server->description, description);
  if (reply (o, NBD_REP_SERVER, data, 4 + name + description) != NEXT)
    return END;
  return acknowledge (o);
}

static Outcome
start_tls (const Option *o)
{
  return refuse (o, NBD_REP_ERR_UNSUP, "this server has no TLS");
}

/* One NBD_REP_INFO; kinds that are not known are ignored. */
static gboolean
send_info (const Option *o, guint16 kind)
{
  const H2kNbdServer *server = o->connection->server;
  guint8 data[2 + NBD_STRING_MAX], *p = h2k_nbd_put16 (data, kind);
  const char *text = kind == NBD_INFO_NAME ? server->name : server->description;

  switch (kind)
    {
    case NBD_INFO_EXPORT:
      p = h2k_nbd_put64 (p, server->disk->size);
      p = h2k_nbd_put16 (p, transmission_flags (o->connection));
      break;
    case NBD_INFO_NAME:
    case NBD_INFO_DESCRIPTION:
      memcpy (p, text, strlen (text));
      p += strlen (text);
      break;
    case NBD_INFO_BLOCK_SIZE:
      p = h2k_nbd_put32 (p, 1);
      p = h2k_nbd_put32 (p, NBD_PREFERRED);
      p = h2k_nbd_put32 (p, NBD_MAX_REQUEST);
      break;
    default:
      return TRUE;
    }
  return reply (o, NBD_REP_INFO, data, (gsize)(p - data)) == NEXT;
}

/* NBD_OPT_INFO and NBD_OPT_GO: the name, and what else is of interest. */
static Outcome
info (const Option *o)
{
  Cursor cursor = {o->data, o->length};
  const guint8 *name, *number, *kinds;
  guint32 length, wanted = 0;
  guint count;

  if (!take_string (&cursor, &name, &length) || !take (&cursor, 2, &number)
      || !take (&cursor, h2k_be16 (number) * (gsize)2, &kinds) || cursor.left)
    return refuse_invalid (o);
  if (!is_text (name, length, o->connection->server->name))
    return refuse_export (o);
  count = h2k_be16 (number);
  for (guint i = 0; i < count; i++)
    wanted |= h2k_be16 (kinds + 2 * i) < 32 ? 1u << h2k_be16 (kinds + 2 * i) : 0;
  wanted |= 1u << NBD_INFO_EXPORT;
  for (guint16 kind = 0; kind < 32; kind++)
    if (wanted & 1u << kind && !send_info (o, kind))
      return END;
  if (acknowledge (o) != NEXT)
    return END;
  return o->number == NBD_OPT_GO ? USE : NEXT;
}

static Outcome
structured_reply (const Option *o)
{
  if (o->length)
    return refuse_invalid (o);
  o->connection->structured = TRUE;
  return acknowledge (o);
}

/* Whether the only context there is, is among what is asked for. FALSE: the option is invalid. */
static gboolean
parse_queries (Cursor *cursor, gboolean wildcards, gboolean *found)
{
  guint32 count, length;
  const guint8 *query;

  if (!take32 (cursor, &count))
    return FALSE;
  *found = count == 0 && wildcards;
  for (; count; count--)
    {
      if (!take_string (cursor, &query, &length))
        return FALSE;
      if (is_text (query, length, NBD_BASE_ALLOCATION)
          || (wildcards && is_text (query, length, "base:")))
        *found = TRUE;
    }
  return cursor->left == 0;
}

/* NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
static Outcome
meta_context (const Option *o)
{
  NbdConnection *c = o->connection;
  gboolean set = o->number == NBD_OPT_SET_META_CONTEXT, found;
  guint8 data[4 + sizeof NBD_BASE_ALLOCATION - 1];
  Cursor cursor = {o->data, o->length};
  const guint8 *name;
  guint32 length;

  if (set)
    c->has_status = FALSE;
  if (!c->structured)
    return refuse (o, NBD_REP_ERR_INVALID, "structured replies have to be negotiated first");
  if (!take_string (&cursor, &name, &length) || !parse_queries (&cursor, !set, &found))
    return refuse_invalid (o);
  if (!is_text (name, length, c->server->name))
    return refuse_export (o);
  memcpy (h2k_nbd_put32 (data, set ? CONTEXT_ID : 0), NBD_BASE_ALLOCATION, sizeof data - 4);
  if (found && reply (o, NBD_REP_META_CONTEXT, data, sizeof data) != NEXT)
    return END;
  if (set)
    c->has_status = found;
  return acknowledge (o);
}

static Outcome (*const options[]) (const Option *) = {
    [NBD_OPT_EXPORT_NAME] = export_name,
    [NBD_OPT_ABORT] = end_session,
    [NBD_OPT_LIST] = list,
    [NBD_OPT_STARTTLS] = start_tls,
    [NBD_OPT_INFO] = info,
    [NBD_OPT_GO] = info,
    [NBD_OPT_STRUCTURED_REPLY] = structured_reply,
    [NBD_OPT_LIST_META_CONTEXT] = meta_context,
    [NBD_OPT_SET_META_CONTEXT] = meta_context,
};

static Outcome
run_option (const Option *o)
{
  if (g_atomic_int_get (&o->connection->server->stopping) && o->number != NBD_OPT_ABORT)
    {
      refuse (o, NBD_REP_ERR_SHUTDOWN, "the server is ending");
      return END;
    }
  /* A client that does not know the fixed newstyle does not know errors, either. */
  if (!o->connection->fixed && o->number != NBD_OPT_EXPORT_NAME)
    return END;
  if (o->number < G_N_ELEMENTS (options) && options[o->number])
    return options[o->number](o);
  return refuse (o, NBD_REP_ERR_UNSUP, "the option is not known");
}

/* --- the conversation ------------------------------------------------------------------------- */

static gboolean
greet (NbdConnection *c)
{
  guint8 hello[8 + 8 + 2], answer[4];
  struct iovec piece = {hello, sizeof hello};
  guint8 *p = h2k_nbd_put64 (hello, NBD_MAGIC);
  guint32 flags;

  p = h2k_nbd_put64 (p, NBD_OPTION_MAGIC);
  h2k_nbd_put16 (p, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
  if (!h2k_nbd_send (c, &piece, 1) || !h2k_nbd_receive (c, answer, sizeof answer))
    return FALSE;
  flags = h2k_be32 (answer);
  c->fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) != 0;
  c->no_zeroes = (flags & NBD_FLAG_NO_ZEROES) != 0;
  return (flags & ~(guint32)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) == 0;
}

static Outcome
next_option (NbdConnection *c)
{
  guint8 header[8 + 4 + 4];
  g_autofree guint8 *data = NULL;
  Option o = {.connection = c};

  if (!h2k_nbd_receive (c, header, sizeof header) || h2k_be64 (header) != NBD_OPTION_MAGIC)
    return END;
  o.number = h2k_be32 (header + 8);
  o.length = h2k_be32 (header + 12);
  if (o.length > MAX_OPTION)
    {
      if (o.number == NBD_OPT_EXPORT_NAME || o.length > MAX_SKIPPED || !h2k_nbd_skip (c, o.length)
          || !c->fixed)
        return END;
      return refuse (&o, NBD_REP_ERR_TOO_BIG, "the option is too long");
    }
  data = g_malloc (o.length + 1);
  if (!h2k_nbd_receive (c, data, o.length))
    return END;
  o.data = data;
  return run_option (&o);
}

gboolean
h2k_nbd_negotiate (NbdConnection *c)
{
  Outcome outcome = greet (c) ? NEXT : END;

  while (outcome == NEXT)
    outcome = next_option (c);
  return outcome == USE;
}

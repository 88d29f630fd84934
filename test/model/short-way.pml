/* One write per lease: the short way, with the intent on the chunk. One lease (exclusive, live), two cases that both
   fence it, each with one chunk. Code: functions/revoke/work.ts, gather.ts; store/work.ts, leases.ts.

   A worker that meets the chunk for the first time may go the short way: it writes the chunk's intent, which names the
   leases it will try; calls; and ends the lease from `live` in one conditional write. Whatever else it finds, and every
   later visit, goes the long way: claim (with the intent on the lease), call, outcome.

   Case 0 is the less urgent one, case 1 takes a lease over from it. An answer: killed, failed (nothing happened), unknown
   (it may have happened), absent. Flags that extend the world:
     CR=n       so many crashes (default 1)
     DUP        case 0's message comes twice: two workers at once
     EXT        somebody else may delete the credential
     LONG1      case 1 goes the long way only (an expiry, a release, an amendment)
     NOSHORT    nobody goes the short way: the protocol before
     RENEW      a renewal that can bring the credential to life is under way
   Deviations, each of which must be found:
     NOINTENT   the intent of the short way is not written
     NOFIX      the outcome of another case is copied, also where this chunk's intent names the lease
     UNNAMED    the intent does not say which leases it means: all that the chunk covers
     COPYFIRST  a first visit that only copies writes no intent of its own: a second worker may have one by then
     FIXBLIND   that correction is not conditional on the case having no outcome yet
     BLINDEND   the short way's write is not conditional on the lease as read
     FORGETS    a claim after a lost short attempt does not keep the doubt (`unanswered`) on the lease
     KEEPSDOUBT the doubt of the chunk's intent is not given up when the lease is claimed with what was answered
     BLINDRENEW the renewal looks at the fences first and writes then, and neither way compares the expiry
   Runs:
     holds
     holds -DEXT
     holds -DCR=2 -DEXT : two crashes
     holds -DLONG1 -DEXT
     holds -DNOSHORT -DEXT : the protocol with two writes per lease; then nobody says `absent` of what we cut
     holds -DRENEW
     holds slow -DDUP -DEXT -DCR=0
     holds slow -DDUP -DLONG1
     breaks -DNOINTENT : nobody knows any more that we cut it
     breaks -DNOFIX : soak, deletion, watch and restoration do not know the cut
     breaks -DUNNAMED -DEXT : `revoked` is said of what somebody else deleted
     breaks -DCOPYFIRST -DDUP -DCR=0
     breaks -DFIXBLIND -DDUP -DEXT -DCR=0 : the lease says another outcome than was counted
     breaks -DBLINDEND
     breaks -DFORGETS
     breaks -DKEEPSDOUBT -DEXT -DCR=0
     breaks -DBLINDRENEW -DRENEW -DCR=0
*/
#ifndef CR
#define CR 1
#endif
#define LIVE 1
#define CUT 2
#define ENDED 3
#define REV 1
#define ABS 2
#define NOBODY 9
#define KILLED 1
#define FAILED 2
#define ABSENT 3
#define UNKNOWN 4
byte crashes = CR;
/* the lease */
byte st = LIVE; byte gen; byte expiry; byte holder = NOBODY; bit unanswered; bit unsettled; bit claims[2]; byte outcome[2];
byte endOutcome; byte endCase = NOBODY;
/* the chunks: visited (the intent is written), named (it names the lease), what was counted, whether soak and watch know the cut */
bit visited[2]; bit named[2]; bit closed[2]; byte counted[2]; bit watched[2];
/* the truth */
bit alive = 1; bit killed; /* by us */ bit doubt; /* some answer of ours was lost: from then on an absence may be ours */
byte inside[2]; bit fails[2]; bit tried[2]; /* an intent of the case that means this lease was written */
#define CRASH if :: crashes > 0 -> crashes--; printf("   crash\n"); goto dead :: true fi
#define FINAL(c, what) outcome[c] = what; assert(!alive)
#ifdef BLINDRENEW
#define SAME_EXPIRY true
#else
#define SAME_EXPIRY (expiry == x)
#endif
#ifdef LONG1
#define SHORT (c == 0)
#else
#ifdef NOSHORT
#define SHORT false
#else
#define SHORT true
#endif
#endif

#ifdef FIXBLIND
#define FIRST true
#else
#define FIRST (outcome[c] == 0)
#endif

inline call() { /* r: the answer, or the worker dies before it has it */
  atomic {
    if
    :: alive ->
      if
      :: alive = 0; killed = 1; r = KILLED; printf("%d kills\n", c)
      :: !fails[c] -> fails[c] = 1; r = FAILED; printf("%d: the call fails\n", c)
      :: !fails[c] -> fails[c] = 1; r = UNKNOWN; alive = 0; killed = 1; printf("%d kills, the answer is lost\n", c)
      :: !fails[c] -> fails[c] = 1; r = UNKNOWN; doubt = 1; printf("%d: lost on the way\n", c)
      fi
    :: else -> r = ABSENT; printf("%d: absent\n", c)
    fi;
    if :: crashes > 0 -> crashes--; doubt = 1; printf("   crash, answer lost\n"); goto dead :: true fi
  }
}

proctype Worker(byte c) {
  byte s, g, x, h, r, eo, n; bit un, uns, v, nm, cut, before, cl;
again:
  atomic { inside[c]++; n = 0 }
reload:
  atomic { v = visited[c]; nm = named[c]; cut = 0; if :: nm && inside[c] > 1 -> doubt = 1 /* the other worker's answer is unknown to this one */ :: else fi; if :: closed[c] -> goto fin :: else fi; CRASH }
look:
  atomic { s = st; g = gen; x = expiry; h = holder; un = unanswered; uns = unsettled; eo = endOutcome; cl = claims[c];
    if :: outcome[c] != 0 -> goto count :: else fi; CRASH }
  if
  :: s == LIVE && !v && !uns && SHORT ->
    atomic {
#ifndef NOINTENT
      if :: !visited[c] && !closed[c] -> visited[c] = 1; named[c] = 1; tried[c] = 1; v = 1; printf("%d: the chunk's intent names it\n", c) :: else -> goto reload fi;
#endif
      CRASH }
    call();
    v = 1;
    if
    :: r == KILLED ->
      atomic {
        cut = 1; nm = 1;
#ifdef BLINDEND
        if :: true ->
#else
        if :: st == LIVE && gen == g && SAME_EXPIRY && !claims[c] ->
#endif
          st = ENDED; gen++; claims[c] = 1; FINAL(c, REV); endOutcome = REV; endCase = c; printf("%d: ended in one write\n", c)
        :: else -> printf("%d: the one write fails\n", c) fi; CRASH }
    :: r == UNKNOWN -> nm = 1
    :: else -> nm = 0 /* answered: this worker knows that its attempt did nothing */
    fi;
    goto look
  :: s == LIVE || (s == CUT && h != c && c == 1) ->
    /* the first visit is noted before any outcome of it is written */
    atomic { if :: v -> skip :: !v && !visited[c] && !closed[c] -> visited[c] = 1; v = 1;
#ifdef UNNAMED
      named[c] = 1;
#endif
      :: else -> goto reload fi; CRASH }
    atomic {
      if :: st == s && gen == g && SAME_EXPIRY ->
        before = un || (nm && !cut && !cl);
#ifdef KEEPSDOUBT
        before = un || named[c];
#endif
        st = CUT; holder = c; gen++; claims[c] = 1; tried[c] = 1;
#ifdef FORGETS
        unanswered = un || !cut
#else
        unanswered = un || !cut || nm
#endif
        ; if :: un -> doubt = 1 :: else fi; printf("%d claims it (before %d)\n", c, before)
      :: else -> goto look fi; g++; CRASH }
    goto try
  :: s == CUT && h == c && cut -> before = 1; goto try /* it waits for its outcome only */
  :: s == CUT && h == c && !cut ->
    n < 2 || inside[c] == 1 || gen != g; n++; /* two workers at once do not pass each other for ever: back-off parts them */
    atomic { if :: st == s && gen == g ->
#ifdef KEEPSDOUBT
        before = un || named[c];
#else
        before = un;
#endif
        if :: un -> doubt = 1 :: else fi;
        unanswered = 1; gen++; printf("%d tries again (before %d)\n", c, before) :: else -> goto look fi; g++; CRASH }
    goto try
  :: s == CUT && h != c && c == 0 -> (st != CUT || holder == c); goto look
  :: s == ENDED ->
#ifndef COPYFIRST
    atomic { if :: v -> skip :: !v && !visited[c] && !closed[c] -> visited[c] = 1; v = 1;
#ifdef UNNAMED
      named[c] = 1;
#endif
      :: else -> goto reload fi; CRASH }
#endif
    atomic {
      if :: st == s && gen == g && eo == endOutcome && FIRST ->
#ifndef NOFIX
        if :: eo == ABS && (cut || nm) -> claims[c] = 1; FINAL(c, REV); endOutcome = REV; endCase = c; gen++;
            printf("%d: it was ours (known %d)\n", c, cut)
        :: else -> claims[c] = 1; FINAL(c, eo); printf("%d copies %d\n", c, eo) fi
#else
        claims[c] = 1; FINAL(c, eo); printf("%d copies %d\n", c, eo)
#endif
      :: else fi; CRASH }
    goto look
  fi;
try:
  if :: !cut -> call() :: else -> r = KILLED fi;
  if
  :: r == KILLED || (r == ABSENT && before) ->
    if :: uns -> unsettled == 0; goto look :: else fi; /* tried again when nothing can bring it back any more */
    atomic { cut = (cut || r == KILLED);
      if :: st == CUT && gen == g -> st = ENDED; holder = NOBODY; unanswered = 0; FINAL(c, REV); endOutcome = REV; endCase = c; printf("%d: revoked\n", c)
      :: else -> nm = 1 fi; CRASH }
  :: r == ABSENT && !before ->
    if :: uns ->
      atomic { if :: st == CUT && gen == g -> unanswered = 0 :: else fi; CRASH }
      unsettled == 0; goto look
    :: else fi;
    atomic { if :: st == CUT && gen == g -> st = ENDED; holder = NOBODY; unanswered = 0; FINAL(c, ABS); endOutcome = ABS; endCase = c; printf("%d: absent\n", c)
      :: else -> doubt = 1 fi; CRASH }
  :: r == FAILED ->
    atomic { if :: st == CUT && gen == g -> unanswered = before :: else fi; CRASH }
  :: r == UNKNOWN -> skip
  fi;
  goto look;
count:
  atomic { if :: !closed[c] -> closed[c] = 1; counted[c] = outcome[c]; watched[c] = (endCase == c && endOutcome == REV); printf("%d counts %d\n", c, counted[c]) :: else fi; CRASH }
  goto fin;
dead: atomic { inside[c]--; if :: tried[c] -> doubt = 1 :: else fi; s = 0; g = 0; x = 0; h = 0; r = 0; eo = 0; n = 0; un = 0; uns = 0; v = 0; nm = 0; cut = 0; before = 0; cl = 0; goto again }
fin: atomic { inside[c]--; s = 0; g = 0; x = 0; h = 0; r = 0; eo = 0; n = 0; un = 0; uns = 0; v = 0; nm = 0; cut = 0; before = 0; cl = 0 }
}

#ifdef EXT
proctype Other() { atomic { if :: alive -> alive = 0; printf("somebody else deletes it\n") :: true fi } }
#endif
#ifdef RENEW
bit fence;
proctype Renewal() { bit f;
#ifdef BLINDRENEW
  f = fence;
#endif
  atomic { if :: st == LIVE -> expiry++; unsettled = 1; printf("renewal written\n") :: else -> goto fin fi };
#ifndef BLINDRENEW
  f = fence;
#endif
  if :: !f -> atomic { alive = 1; printf("renewed at the issuer\n") } :: else fi;
fin: unsettled = 0
}
#endif
init {
#ifdef EXT
  run Other();
#endif
#ifdef RENEW
  run Renewal();
  fence = 1;
#endif
  atomic { run Worker(0); run Worker(1);
#ifdef DUP
    run Worker(0);
#endif
  }
  timeout;
  printf("end: outcomes %d %d, ended by %d as %d, killed by us %d, in doubt %d\n", outcome[0], outcome[1], endCase, endOutcome, killed, doubt);
  assert(closed[0] && closed[1] && !alive);
  assert(counted[0] == outcome[0] && counted[1] == outcome[1]);
  /* what we cut is called so, by the case that soak, deletion, watch and restoration go by */
  assert(!killed || (endOutcome == REV && watched[endCase] && outcome[endCase] == REV));
  assert(!(watched[0] && watched[1]));
  /* nobody says that it was us where it was not, but for a lost answer */
  assert(killed || doubt || (outcome[0] == ABS && outcome[1] == ABS));
#ifdef NOSHORT
  assert(!killed || (outcome[0] == REV && outcome[1] == REV));
#endif
}

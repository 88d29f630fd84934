/* Late leases with children, and amendments that are tried again.
   Code: functions/store/amendments.ts (amend, meetAgain, reopenAmendment), store/work.ts (expand, amendEach, finishChunk),
   revoke/gather.ts (handOver, tellOthers), register/register.ts (finish, handOver).

   Lease P came late for case A, so an amendment of A cuts it: it fences what P was delegated to and lists it, and each
   child gets an amendment of its own. Child C is being registered meanwhile: pointers, lease, look, acknowledgement.
   Case B fences the identity of C and scans it. So C's amendment in A may be there before C is, or before anybody makes C
   late, or be over by then. The sweeper ends a registration that nobody finished.
     CR=n       so many crashes (default 1)
     RETRY      the client comes back
   Deviations:
     ENDBLIND   an amendment that found no lease ends also where the lease came since
     LATEDONE   an amendment that was over before its lease was there is opened again only by whoever makes the lease late
     CHILDMUTE  an amendment of a child makes it late and tells no other case whose fence covers it
     NOREOPEN   an amendment that is over stays so
     LISTFIRST  the children are listed before their scope is fenced, and
     NOCLAIMLOOK the registrar does not look at who has claimed the parent: each covers for the other
   Runs:
     holds
     holds -DRETRY
     holds slow -DCR=2 : two crashes
     breaks -DENDBLIND : the lease is late, found by nothing that is due, and lives on
     breaks -DLATEDONE : case A never names the child
     breaks -DCHILDMUTE : case B never names it
     breaks -DNOREOPEN
     holds -DNOCLAIMLOOK
     breaks -DLISTFIRST -DNOCLAIMLOOK
*/
#ifndef CR
#define CR 1
#endif
#define NONE 0
#define REGISTERING 1
#define LIVE 2
#define LATE 3
#define ENDED 4
#define A 0
#define B 1
#define OPEN 1
#define DONE 2
byte crashes = CR;
bit pointer; byte st; bit acknowledged; bit alive; /* C */
bit fence[2]; bit claims[2]; byte counted[2];
byte amendment[2]; bit missed[2]; /* it was over before its lease was there */ byte expected[2]; byte done[2];
byte parent; /* A's amendment of P: OPEN, DONE */ bit claimedParent; byte tries; bit gone;
#define CRASH if :: atomic { crashes > 0 -> crashes--; printf("   crash\n") } goto dead :: true fi

#ifdef ENDBLIND
#define ENDS true
#else
#define ENDS false
#endif
#ifdef NOCLAIMLOOK
#define CLAIMED false
#else
#define CLAIMED claimedParent
#endif
#ifdef CHILDMUTE
#define TELLS (c == B)
#else
#define TELLS true
#endif

/* amend(): `seen` is the state of the lease as the caller read it */
inline amend(c, seen) {
  do
  :: atomic {
      if
      :: amendment[c] == 0 && (seen != REGISTERING || st == REGISTERING) ->
        if :: seen == REGISTERING -> st = LATE :: else fi;
        amendment[c] = OPEN; expected[c]++; printf("amendment of case %d\n", c); break
      :: amendment[c] != 0 ->
#ifdef LATEDONE
        if :: seen != REGISTERING || st != REGISTERING -> break :: else fi;
#endif
        if
        :: amendment[c] == DONE && st != REGISTERING && !missed[c] -> break
        :: else ->
          if :: st == REGISTERING -> st = LATE :: else fi;
          if
          :: amendment[c] == OPEN ->
            printf("met by the open amendment of case %d\n", c)
          :: else ->
#ifndef NOREOPEN
            amendment[c] = OPEN; expected[c]++; missed[c] = 0; printf("amendment of case %d again\n", c)
#endif
          fi;
          break
        fi
      :: amendment[c] == 0 && seen == REGISTERING && st != REGISTERING ->
        if :: acknowledged -> break :: else -> seen = st fi
      fi;
      CRASH
    }
  od
}

proctype Registrar() { byte seen; bit a, b;
again:
#ifdef RETRY
  tries++;
#endif
  atomic { pointer = 1; printf("pointer\n"); CRASH }
  atomic { if :: st == NONE -> st = REGISTERING; alive = 1; printf("lease\n") :: else fi; seen = st; CRASH }
  if :: seen == LIVE -> goto fin :: else fi;
  /* the scope of the parent's children, and a parent that is claimed; the identity's fence */
  atomic { a = fence[A] || CLAIMED; b = fence[B]; printf("looks %d %d\n", a, b); CRASH }
  if
  :: !a && !b -> atomic { if :: st == REGISTERING -> st = LIVE; acknowledged = 1; printf("ACK\n"); goto fin :: else fi; CRASH }
    /* refused: it is something else by now; looked at once more */
    atomic { seen = st; a = (fence[A] || claimedParent) && !acknowledged; b = fence[B] && !acknowledged; CRASH }
  :: else fi;
  if :: a -> amend(A, seen); CRASH :: else fi;
  if :: b -> amend(B, seen); CRASH :: else fi;
  goto fin;
dead:
#ifdef RETRY
  if :: tries < 2 -> goto again :: true fi;
#endif
fin: atomic { gone = 1; seen = 0; a = 0; b = 0 }
}

/* A's amendment of P */
proctype Parent() { bit found;
again:
  if :: parent == DONE -> goto fin :: else fi;
  atomic { claimedParent = 1; CRASH }
#ifdef LISTFIRST
  atomic { found = pointer; CRASH }
  atomic { fence[A] = 1; printf("A fences the children\n"); CRASH }
#else
  atomic { fence[A] = 1; printf("A fences the children\n"); CRASH }
  atomic { found = pointer; CRASH }
#endif
  if :: found -> atomic { if :: amendment[A] == 0 && parent == OPEN -> amendment[A] = OPEN; expected[A]++; printf("A lists the child\n") :: else fi; CRASH } :: else fi;
  atomic { parent = DONE; CRASH }
  goto fin;
dead: goto again;
fin: found = 0
}

/* B fences the identity of C, and scans it */
proctype Scan() { byte seen;
again:
  atomic { fence[B] = 1; printf("B fences\n"); CRASH }
  atomic { if :: pointer -> seen = st :: else -> seen = NONE fi; CRASH }
  if
  :: seen == REGISTERING || (seen == LATE) || (seen == ENDED && !acknowledged) ->
    amend(B, seen);
    atomic { if :: acknowledged && !claims[B] -> goto again :: else fi; CRASH }
  :: seen == LIVE || (seen == ENDED && acknowledged) -> /* its chunk claims and counts it */
    atomic { if :: !claims[B] -> claims[B] = 1; counted[B]++; st = ENDED; alive = 0; printf("B's chunk ends it\n") :: else fi; CRASH }
  :: seen == NONE -> skip
  fi;
  goto fin;
dead: seen = 0; goto again;
fin: seen = 0
}

/* Works on the amendments of C */
proctype Worker() { byte c, seen, other; bit look;
again:
end: atomic { if :: amendment[A] == OPEN -> c = A :: amendment[B] == OPEN -> c = B fi; other = 1 - c }
  atomic { seen = st; CRASH }
  if
  :: seen == NONE -> skip /* a pointer without its lease */
  :: else ->
    if
    :: !claims[c] && !acknowledged && TELLS ->
      atomic { look = fence[other] || (other == A && claimedParent); CRASH }
      if :: look -> amend(other, seen); CRASH :: else fi
    :: else fi;
    atomic { seen = st; CRASH }
    if :: seen == REGISTERING -> amend(c, seen); CRASH :: else fi;
    atomic { /* claim, cut, outcome; or the outcome of whoever ended it */
      if :: (st == LATE || st == LIVE || st == ENDED) && !claims[c] -> claims[c] = 1; st = ENDED; alive = 0; printf("amendment %d ends it\n", c) :: else fi; CRASH }
  fi;
  atomic { /* its end, counted once: what it claimed, and nobody counted yet */
    if
    :: amendment[c] == OPEN && (ENDS || seen != NONE || st == NONE) -> amendment[c] = DONE; done[c]++; missed[c] = (seen == NONE); if :: claims[c] && counted[c] == 0 -> counted[c]++ :: else fi; printf("amendment %d over\n", c)
    :: else fi; CRASH }
dead: atomic { c = 0; seen = 0; other = 0; look = 0; goto again }
}

proctype Sweeper() { bit a, b; byte seen;
end: atomic { st == REGISTERING && gone -> skip };
again:
  atomic { a = fence[A] || claimedParent; b = fence[B]; seen = st; CRASH }
  if :: seen == REGISTERING && a -> amend(A, seen); CRASH :: else fi;
  if :: seen == REGISTERING && b -> amend(B, seen); CRASH :: else fi;
  atomic { if :: st == REGISTERING || (st == LATE && !acknowledged) -> st = ENDED; alive = 0; printf("swept\n") :: else fi; CRASH }
  goto fin;
dead: a = 0; b = 0; seen = 0; goto again;
fin: a = 0; b = 0; seen = 0
}

init {
  atomic { parent = OPEN; run Registrar(); run Parent(); run Scan(); run Worker(); run Sweeper() }
  timeout;
  printf("end: lease %d alive %d claims %d %d amendments %d %d\n", st, alive, claims[A], claims[B], amendment[A], amendment[B]);
  assert(!alive && st != LIVE && st != LATE && st != REGISTERING);
  assert(amendment[A] != OPEN && amendment[B] != OPEN && expected[A] == done[A] && expected[B] == done[B]);
  assert(counted[A] <= 1 && counted[B] <= 1);
  assert(st == NONE || (claims[A] && claims[B] && counted[A] == 1 && counted[B] == 1));
}
